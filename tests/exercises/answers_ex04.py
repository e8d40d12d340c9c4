"""Right and wrong answers to exercise 04. Each wrong one: the fault that must be named, a word of
the message.
"""

import numpy as np
import torch
from torch.nn import functional as F

# --- 1 --------------------------------------------------------------------------------------------


def by_kl_div(s, t, T):
    return T**2 * F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="batchmean")


def in_numpy(s, t, T):
    s, t = s.numpy().astype(np.float64) / T, t.numpy().astype(np.float64) / T
    s -= np.logaddexp.reduce(s, axis=1, keepdims=True)
    t -= np.logaddexp.reduce(t, axis=1, keepdims=True)
    return T * T * (np.exp(t) * (t - s)).sum(1).mean()


def in_loops(s, t, T):
    total = 0.0
    for row_s, row_t in zip(s.double(), t.double(), strict=True):
        normaliser_s, normaliser_t = torch.logsumexp(row_s / T, 0), torch.logsumexp(row_t / T, 0)
        for a, b in zip(row_s / T - normaliser_s, row_t / T - normaliser_t, strict=True):
            total += float(b.exp() * (b - a))
    return T**2 * total / len(s)


def by_cross_entropies(s, t, T):
    p_t = (t / T).softmax(1)
    return T**2 * (F.cross_entropy(s / T, p_t) - F.cross_entropy(t / T, p_t))


def kl(s, t, T):
    return F.kl_div(
        (s / T).log_softmax(1), (t / T).log_softmax(1), reduction="batchmean", log_target=True
    )


def mean_over_classes(s, t, T):
    return T**2 * F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="none").mean()


def mean_over_classes_no_square(s, t, T):
    return F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="none").mean()


def summed(s, t, T):
    return T**2 * F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="sum")


def probabilities_first(s, t, T):
    return T**2 * F.kl_div((s / T).softmax(1), (t / T).softmax(1), reduction="batchmean")


def not_normalised(s, t, T):
    return T**2 * F.kl_div(s / T, t / T, reduction="batchmean", log_target=True)


def student_not_normalised(s, t, T):
    return T**2 * F.kl_div(s / T, (t / T).softmax(1), reduction="batchmean")


def log_of_softmax(s, t, T):
    p_s, p_t = (s / T).softmax(1), (t / T).softmax(1)
    return T**2 * (p_t * (p_t.log() - p_s.log())).sum(1).mean()


def soft_cross_entropy(s, t, T):
    return T**2 * F.cross_entropy(s / T, (t / T).softmax(1))


def each_sample(s, t, T):
    return T**2 * F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="none").sum(1)


# --- 2 --------------------------------------------------------------------------------------------


def by_autograd(z_s, z_t, labels, T, soft_weight, label_weight):
    z = z_s.clone().requires_grad_()
    loss = soft_weight * by_kl_div(z, z_t, T) + label_weight * F.cross_entropy(z, labels)
    loss.backward()
    return z.grad


def row_by_row(z_s, z_t, labels, T, soft_weight, label_weight):
    rows = []
    for s, t, label in zip(z_s.numpy(), z_t.numpy(), labels.tolist(), strict=True):
        p_s, p_t, p_1 = (np.exp(z) / np.exp(z).sum() for z in (s / T, t / T, s))
        p_1[label] -= 1
        rows.append((soft_weight * T * (p_s - p_t) + label_weight * p_1) / len(z_s))
    return np.stack(rows)


def gradient(soft=lambda T: T, label_T=lambda T: 1, mean=True, swap=False, sign=1, soften=True):
    """A learner's gradient with one slip."""

    def function(z_s, z_t, labels, T, soft_weight, label_weight):
        if swap:
            soft_weight, label_weight = label_weight, soft_weight
        by = T if soften else 1
        soft_part = soft(T) * ((z_s / by).softmax(1) - (z_t / by).softmax(1))
        label_part = (z_s / label_T(T)).softmax(1) - F.one_hot(labels, z_s.shape[1])
        return (
            sign * (soft_weight * soft_part + label_weight * label_part) / (len(z_s) if mean else 1)
        )

    return function


def no_label_part(z_s, z_t, labels, T, soft_weight, label_weight):
    return gradient()(z_s, z_t, labels, T, soft_weight, 0)


def no_weights(z_s, z_t, labels, T, soft_weight, label_weight):
    return gradient()(z_s, z_t, labels, T, 1, 1)


# --- 4 --------------------------------------------------------------------------------------------


def by_cases(weight, T, B, C, reduction, squared):
    if reduction == "mean":
        weight = weight / C
    elif reduction == "sum":
        weight = weight * B
    return weight if squared else weight / T**2


def measured(weight, T, B, C, reduction, squared):
    z = torch.randn(2, B, C, dtype=torch.float64).div(T)
    p_t, log_p_s = z[0].softmax(1), z[1].log_softmax(1)
    other_loss = weight * F.kl_div(log_p_s, p_t, reduction=reduction) * (T**2 if squared else 1)
    return other_loss / (T**2 * F.kl_div(log_p_s, p_t, reduction="batchmean"))


def translated(square=-2, mean=lambda B, C: 1 / C, total=lambda B, C: B, with_square=0):
    """A learner's translation with one slip."""

    def function(weight, T, B, C, reduction, squared):
        front = {"batchmean": 1, "mean": mean(B, C), "sum": total(B, C)}[reduction]
        return weight * front * T ** (with_square if squared else square)

    return function


# --- 5 --------------------------------------------------------------------------------------------


def by_dictionary(asked, images, views):
    answers = {}
    for epoch, index, logits in asked:
        for place, row in zip(index.tolist(), logits.tolist(), strict=True):
            answers[epoch % views, place] = row
    nothing = [float("nan")] * asked[0][2].shape[1]
    return [
        [answers.get((view, image), nothing) for image in range(images)] for view in range(views)
    ]


def flat_numpy(asked, images, views):
    table = np.full((views * images, asked[0][2].shape[1]), np.nan, np.float32)
    for epoch, index, logits in asked:
        table[epoch % views * images + index.numpy()] = logits.numpy()
    return table.reshape(views, images, -1)


def table(view=lambda epoch, views: epoch % views, fill=float("nan"), shape=lambda table: table):
    """A learner's table with one slip."""

    def function(asked, images, views):
        kept = torch.full((views, images, asked[0][2].shape[1]), fill)
        for epoch, index, logits in asked:
            kept[view(epoch, views), index] = logits
        return shape(kept)

    return function


def as_they_come(asked, images, views):
    kept = torch.full((views, images, asked[0][2].shape[1]), float("nan"))
    place = dict.fromkeys(range(len(asked)), 0)
    for epoch, index, logits in asked:
        if epoch < views:
            kept[epoch, place[epoch] : place[epoch] + len(index)] = logits
            place[epoch] += len(index)
    return kept


RIGHT = {
    "soft_target_loss": [by_kl_div, in_numpy, in_loops, by_cross_entropies],
    "distillation_gradient": [by_autograd, row_by_row, gradient()],
    "crossing": [2.8, 3, np.float32(2.95), torch.tensor([2.9]), "T = 2.9", "2,9", "about 3"],
    "translated_weight": [by_cases, measured, translated()],
    "kept_answers": [by_dictionary, flat_numpy, table()],
    "what_is_shown": ["fa", "A, F", ["a", "f"], {"f", "a"}, "a and f", np.array(["a)", "f)"])],
}
WRONG = {
    "soft_target_loss": [
        (kl, "no T²", "T² missing"),
        (lambda s, t, T: T * kl(s, t, T), "T for T²", "T where T² belongs"),
        (lambda s, t, T: kl(s, t, 1), "not softened", "temperature"),
        (mean_over_classes, "mean over classes", "over classes"),
        (mean_over_classes_no_square, "mean over classes and no T²", "T² is missing, too"),
        (summed, "sum over batch", "batch"),
        (each_sample, "per sample", "one number"),
        (lambda s, t, T: by_kl_div(t, s, T), "swapped", "swapped"),
        (probabilities_first, "no log", "log-probabilities"),
        (not_normalised, "nothing normalised", "not normalised"),
        (student_not_normalised, "student not normalised", "student"),
        (soft_cross_entropy, "cross-entropy", "entropy"),
        (log_of_softmax, "nan", "Stay in logarithms"),
        (lambda s, t, T: T**2 * F.kl_div(s, t.exp(), reduction="batchmean"), "value", "Expected"),
    ],
    "distillation_gradient": [
        (gradient(mean=False), "no mean over batch", "divide by B"),
        (gradient(sign=-1), "sign", "other way"),
        (gradient(soft=lambda T: 1), "no T", "T times too small"),
        (gradient(soft=lambda T: 1 / T), "no T²", "T² times too small"),
        (gradient(soft=lambda T: T**2), "T² for T", "1 / T"),
        (gradient(label_T=lambda T: T), "label softened", "T = 1"),
        (gradient(soften=False), "soft part not softened", "divide the logits"),
        (gradient(swap=True), "weights swapped", "swapped"),
        (no_label_part, "label part missing", "missing"),
        (no_weights, "no weights", "weights"),
        (lambda *given: gradient()(*given).mean(0), "shape", "shape"),
    ],
    "crossing": [
        ("between 2 and 3", "type", "between"),
        ({2, 3}, "type", "a set"),
        (0.06, "height", "other axis"),
        (4, "the notebook's temperature", "4"),
        (0.46, "exponent", "power of ten"),
        (2, "value", "too small"),
        (10.0, "value", "too large"),
        ("b", "type", "a number"),
    ],
    "translated_weight": [
        (lambda weight, *_: weight, "T² forgotten", "divide by T²"),
        (translated(square=2), "T² the wrong way", "other way"),
        (translated(square=-1), "T for T²", "T where T² belongs"),
        (translated(with_square=-2), "T² taken away", "cancels"),
        (translated(with_square=2), "T² twice", "cancels"),
        (translated(square=0), "T² forgotten", "divide by T²"),
        (translated(mean=lambda B, C: 1), "classes forgotten", "classes"),
        (translated(mean=lambda B, C: C), "classes the wrong way", "other way"),
        (translated(mean=lambda B, C: 1 / (B * C)), "batch divided", "cancels"),
        (translated(total=lambda B, C: 1), "batch forgotten", "batch"),
        (translated(total=lambda B, C: 1 / B), "batch the wrong way", "other way"),
    ],
    "kept_answers": [
        (table(fill=0.0), "unanswered as zeros", "NaN"),
        (table(view=lambda epoch, views: epoch), "raised", "IndexError"),
        (
            table(view=lambda epoch, views: min(epoch // views, views - 1)),
            "view by division",
            "remainder",
        ),
        (
            table(view=lambda epoch, views: min(epoch, views - 1)),
            "late epochs in the last view",
            "begin again",
        ),
        (table(view=lambda epoch, views: 0), "one view", "view 0"),
        (as_they_come, "order of asking", "index"),
        (table(shape=lambda kept: kept.mean(0)), "mean over views, one table", "averaged"),
        (table(shape=lambda kept: kept.transpose(0, 1)), "transposed", "first axis"),
        (table(shape=lambda kept: kept.flatten(0, 1)), "shape", "shape"),
    ],
    "what_is_shown": [
        ("abf", "zero included", "interval"),
        ("cf", "unpaired", "differences"),
        ("acf", "unpaired", "pair"),
        ("adf", "absence of evidence", "how far it reaches"),
        ("aef", "no control", "no teacher"),
        ("a", "one teacher", "teacher"),
        ("agf", "type", "No statement"),
        (3, "type", "letters"),
    ],
}
