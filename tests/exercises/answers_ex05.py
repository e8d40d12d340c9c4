"""Exercise 05: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# --- hint_loss ------------------------------------------------------------------------------------


def hint(resize=F.adaptive_avg_pool2d, larger=False, bias=True, loss=F.mse_loss):
    def hint_loss(student_map, teacher_map, weight, bias_):
        pick = max if larger else min
        size = [
            pick(pair) for pair in zip(student_map.shape[2:], teacher_map.shape[2:], strict=True)
        ]
        adapted = F.conv2d(
            resize(student_map, size), weight[:, :, None, None], bias_ if bias else None
        )
        return loss(adapted, resize(teacher_map, size))

    return hint_loss


def hint_by_a_module(student_map, teacher_map, weight, bias):
    adapter = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    adapter.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
    height, width = (min(student_map.shape[i], teacher_map.shape[i]) for i in (2, 3))
    adapted, target = F.adaptive_avg_pool2d(adapter(student_map), (height, width)), teacher_map
    if target.shape[2:] != (height, width):
        target = F.adaptive_avg_pool2d(target, (height, width))
    return nn.MSELoss()(adapted, target)


def hint_by_numpy(student_map, teacher_map, weight, bias):
    student, teacher, weight, bias = (
        x.numpy().astype(float) for x in (student_map, teacher_map, weight, bias)
    )

    def pooled(maps, height, width):
        b, c, h, w = maps.shape
        return maps.reshape(b, c, height, h // height, width, w // width).mean(axis=(3, 5))

    height, width = np.minimum(student.shape[2:], teacher.shape[2:])
    adapted = np.tensordot(weight, pooled(student, height, width), axes=(1, 1)).swapaxes(
        0, 1
    ) + bias.reshape(1, -1, 1, 1)
    return ((adapted - pooled(teacher, height, width)) ** 2).mean()


def hint_by_positions(student_map, teacher_map, weight, bias):
    size = torch.minimum(
        torch.tensor(student_map.shape[2:]), torch.tensor(teacher_map.shape[2:])
    ).tolist()
    student, teacher = (
        F.adaptive_avg_pool2d(maps, size).permute(0, 2, 3, 1) for maps in (student_map, teacher_map)
    )
    return F.mse_loss(F.linear(student, weight, bias), teacher)


def interpolated(maps, size):
    return F.interpolate(maps, size)


def sum_over_batch(a, b):
    return F.mse_loss(a, b, reduction="sum") / len(a)


# --- code_weight ----------------------------------------------------------------------------------


def maps(features, power=2, normalise=lambda q: F.normalize(q, dim=1)):
    return normalise(features.abs().pow(power).sum(1).flatten(1))


def weight(paper=lambda d: d.norm(dim=1).mean(), code=lambda d: d.pow(2).mean(), half=0.5, **how):
    def code_weight(student_map, teacher_map, beta):
        d = maps(student_map, **how) - maps(teacher_map, **how)
        return half * beta * paper(d) / code(d)

    return code_weight


def weight_by_numpy(student_map, teacher_map, beta):
    paper = code = 0.0
    for student, teacher in zip(
        student_map.double().numpy(), teacher_map.double().numpy(), strict=True
    ):
        q = [
            (f**2).mean(axis=0).ravel() for f in (student, teacher)
        ]  # mean over channels: normalised, the same
        d = q[0] / np.sqrt((q[0] ** 2).sum()) - q[1] / np.sqrt((q[1] ** 2).sum())
        paper += np.sqrt((d**2).sum())
        code += (d**2).sum() / d.size
    return beta * paper / (2 * code)


def weight_of_double(student_map, teacher_map, beta):
    d = maps(student_map.double()) - maps(teacher_map.double())
    return (
        beta / 2 * d.square().sum(1).sqrt().mean() / (d.square().sum(1) / d.shape[1]).mean()
    ).item()


# --- angle_loss -----------------------------------------------------------------------------------


def cosines(features, normalise=lambda e: F.normalize(e, dim=2)):
    e = normalise(features[None] - features[:, None])
    return e @ e.transpose(1, 2)


def angle(loss=F.smooth_l1_loss, **how):
    return lambda student, teacher: loss(cosines(student, **how), cosines(teacher, **how))


def angle_by_loops(student, teacher):
    def cosine(f, j, i, k):
        a, b = f[i] - f[j], f[k] - f[j]
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / length if length else 0.0

    student, teacher = student.double().numpy(), teacher.double().numpy()
    total, n = 0.0, len(student)
    for j in range(n):
        for i in range(n):
            for k in range(n):
                gap = abs(cosine(student, j, i, k) - cosine(teacher, j, i, k))
                total += gap**2 / 2 if gap < 1 else gap - 0.5
    return total / n**3


def angle_by_huber(student, teacher):
    def unit(f):
        e = f.unsqueeze(0) - f.unsqueeze(1)
        return torch.nan_to_num(e / e.norm(dim=-1, keepdim=True))

    return nn.HuberLoss()(
        *(torch.einsum("jic,jkc->jik", unit(f), unit(f)) for f in (student, teacher))
    )


def angle_of_cosine_similarity(student, teacher):
    def angles(f):
        e = f - f[:, None]
        return F.cosine_similarity(e[:, :, None], e[:, None], dim=-1)

    x = (angles(student) - angles(teacher)).abs()
    return torch.where(x < 1, 0.5 * x**2, x - 0.5).mean()


def angle_of_features(student, teacher):
    return F.smooth_l1_loss(*(F.normalize(f) @ F.normalize(f).T for f in (student, teacher)))


def angle_of_different(student, teacher):
    i = torch.arange(len(student))
    kept = (i[:, None, None] != i[:, None]) & (i[:, None, None] != i) & (i[:, None] != i)
    return F.smooth_l1_loss(cosines(student)[kept], cosines(teacher)[kept])


def angle_without_self(student, teacher):
    other = ~torch.eye(len(student), dtype=torch.bool)
    kept = other[:, :, None] & other[:, None]
    return F.smooth_l1_loss(cosines(student)[kept], cosines(teacher)[kept])


def angle_in_radians(student, teacher):
    return F.smooth_l1_loss(*(cosines(f).clamp(-1, 1).acos() for f in (student, teacher)))


# --- largest_weight -------------------------------------------------------------------------------


def flat(gradients):
    return torch.cat([g.reshape(-1) for g in gradients])


def heaviest(formula, otherwise=torch.inf):
    def largest_weight(label_gradients, hint_gradients):
        label, hint = flat(label_gradients), flat(hint_gradients)
        return formula(label, hint) if label @ hint < 0 else otherwise

    return largest_weight


def heaviest_by_sums(label_gradients, hint_gradients):
    product = sum(
        float((a * b).sum()) for a, b in zip(label_gradients, hint_gradients, strict=True)
    )
    square = sum(float(a.pow(2).sum()) for a in label_gradients)
    return np.inf if product >= 0 else np.float64(-square / product)


def heaviest_by_angles(label_gradients, hint_gradients):
    label, hint = flat(label_gradients).double(), flat(hint_gradients).double()
    cosine = F.cosine_similarity(label, hint, dim=0)
    return torch.where(cosine < 0, -label.norm() / (hint.norm() * cosine), torch.inf)


def by_layer(choose):
    def largest_weight(label_gradients, hint_gradients):
        pairs = list(zip(label_gradients, hint_gradients, strict=True))
        if sum((a * b).sum() for a, b in pairs) >= 0:
            return torch.inf
        return choose([(-(a * a).sum() / (a * b).sum()).item() for a, b in pairs])

    return largest_weight


# --- the tables -----------------------------------------------------------------------------------

RIGHT = {
    "same_size": [
        (("layer4", "layer2"), ("layer3", "layer1")),
        [["layer3", "layer1"], ["layer4", "layer2"], ("layer3", "layer1")],
        {("layer3", "layer1"), ("layer4", "layer2")},
        {"layer3": "layer1", "layer4": "layer2"},
        np.array([["Layer3", "Layer1"], ["Layer4", "Layer2"]]),
    ],
    "hint_loss": [hint(), hint_by_a_module, hint_by_numpy, hint_by_positions],
    "code_weight": [weight(), weight_by_numpy, weight_of_double],
    "angle_loss": [angle(), angle_by_loops, angle_by_huber, angle_of_cosine_similarity],
    "largest_weight": [
        heaviest(lambda label, hint: -(label @ label) / (label @ hint)),
        heaviest_by_sums,
        heaviest_by_angles,
    ],
    "supported": ["CDF", ["f", "d", "c"], "c, d, f", {"c", "d", "f"}, "c, d and f"],
}

WRONG = {
    "same_size": [
        ([("layer1", "layer1"), ("layer2", "layer2")], "names", "32×32"),
        ([("layer4", "layer4")], "names", "1×1"),
        ([("layer1", "layer3"), ("layer2", "layer4")], "swapped", "student's stage comes first"),
        ([("layer3", "layer1")], "missing", "more"),
        ([(["layer3"], ["layer1"])], "form", "pairs"),
        ([("layer3", "layer1"), ("layer4", "layer2"), ("layer2", "layer1")], "size", "16×16"),
        ([("student.layer3", "teacher.layer1")], "form", "layer1, layer2"),
        ([((256, 8, 8), (256, 8, 8))], "form", "pairs"),
        ("layer3 layer1", "form", "list of pairs"),
        ({"layer3": 1}, "form", "pairs"),
    ],
    "hint_loss": [
        (hint(loss=lambda a, b: F.mse_loss(a, b, reduction="sum")), "sum", "divide"),
        (hint(loss=sum_over_batch), "batch", "C·h·w"),
        (hint(loss=lambda a, b: F.mse_loss(a, b) / 2), "half", "½"),
        (hint(loss=lambda a, b: F.mse_loss(a, b).sqrt()), "root", "squares"),
        (hint(loss=F.l1_loss), "absolute", "squares"),
        (hint(bias=False), "bias", "bias is missing"),
        (hint(resize=interpolated, larger=True), "upsampled", "Average-pool the larger"),
        (hint(resize=F.adaptive_max_pool2d), "max_pooled", "average"),
        (hint(resize=interpolated), "skipped", "left out"),
        (
            hint(resize=lambda maps, size: F.interpolate(maps, size, mode="bilinear")),
            "interpolated",
            "average-pool",
        ),
        (
            lambda s, t, w, b: (F.conv2d(s, w[:, :, None, None], b) - t).pow(2).mean(),
            "raised",
            "RuntimeError",
        ),
        (lambda s, t, w, b: hint()(s.clone(), t, w, b)[None].repeat(2), "shape", "one number"),
    ],
    "code_weight": [
        (weight(half=1), "half", "β/2"),
        (lambda s, t, beta: weight()(s, t, 1.0), "beta", "β is missing"),
        (lambda s, t, beta: 1 / weight()(s, t, beta), "inverse", "w · code = paper"),
        (lambda s, t, beta: beta**2 / 4 / weight()(s, t, beta), "inverse_beta", "changed places"),
        (weight(code=lambda d: d.pow(2).sum(1).mean()), "pixels", "mean"),
        (weight(paper=lambda d: d.pow(2).sum(1).mean()), "squared", "root"),
        (weight(paper=lambda d: d.norm()), "whole", "one length an image"),
        (
            weight(paper=lambda d: d.pow(2).sum(1).mean().sqrt()),
            "mean_outside",
            "each image's length first",
        ),
        (weight(normalise=lambda q: q), "not_normalised", "lengths"),
        (weight(normalise=lambda q: q / q.norm()), "batch_normalised", "each image"),
        (weight(normalise=lambda q: q / q.sum(1, keepdim=True)), "sum_normalised", "sum"),
        (weight(power=1), "absolute", "squares"),
    ],
    "angle_loss": [
        (angle(normalise=lambda e: e / e.norm(dim=2, keepdim=True)), "zero_vector", "length 0"),
        (angle(normalise=lambda e: e), "lengths", "divide each difference"),
        (angle(loss=F.mse_loss), "squared", "½x²"),
        (angle(loss=lambda a, b: F.mse_loss(a, b) / 2), "half_square", "linear"),
        (angle(loss=F.l1_loss), "absolute", "Huber"),
        (angle(loss=lambda a, b: F.smooth_l1_loss(a, b, reduction="sum")), "sum", "mean"),
        (angle_of_features, "not_relative", "differences"),
        (angle_in_radians, "radians", "cosines"),
        (angle_of_different, "distinct", "different"),
        (angle_without_self, "neighbours", "left out"),
    ],
    "largest_weight": [
        (
            heaviest(lambda label, hint: -(label @ label) / (label @ hint), otherwise=None),
            "no_limit",
            "got None",
        ),
        (heaviest(lambda label, hint: (label @ label) / (label @ hint)), "sign", "positive"),
        (heaviest(lambda label, hint: -(label @ hint) / (label @ label)), "inverse", "solve"),
        (
            heaviest(lambda label, hint: -(hint @ hint) / (label @ hint)),
            "hint_length",
            "label's loss",
        ),
        (heaviest(lambda label, hint: -label.norm() / (label @ hint)), "length", "squared"),
        (
            heaviest(lambda label, hint: -1 / F.cosine_similarity(label, hint, dim=0)),
            "cosine",
            "how long",
        ),
        (heaviest(lambda label, hint: label.norm() / hint.norm()), "lengths", "angle"),
        (by_layer(lambda each: sum(each) / len(each)), "per_layer", "all layers at once"),
        (by_layer(lambda each: each[0]), "first_layer", "first tensor"),
        (
            lambda label, hint: abs((flat(label) @ flat(label)) / (flat(label) @ flat(hint))),
            "no_limit",
            "inf",
        ),
        (lambda label, hint: float("inf"), "always_infinite", "rises"),
        (heaviest(lambda label, hint: hint.norm() / label.norm()), "value", "Expected"),
    ],
    "supported": [
        ("acdf", "every pair", "relational KD"),
        ("bcdf", "noise", "0.3"),
        ("df", "noise", "other three"),
        ("cf", "only one", "four positive"),
        ("cdef", "one ranking", "3 pairs of 4"),
        ("cd", "above teacher", "by pair"),
        ("cdg", "type", "g"),
    ],
}
