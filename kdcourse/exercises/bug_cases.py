"""The patients of the bug clinic (ex09): for each of its ten cases several right and several broken
implementations.

A check that a learner writes is tried on all of them: it must raise AssertionError on the broken
ones and on no right one. The first broken one of each case is the code that the exercise shows. The
first line of each docstring is what a message calls it.
"""

import copy
import functools
from collections.abc import Callable
from itertools import chain

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.checking import answer_parts

# --- case 1: T² · KL(p_t ‖ p_s), mean over the batch ----------------------------------------------


def _in_doubles(loss: Callable) -> Callable:
    """The loss computed in float64: a check with tolerances for float32 must not fail on what is
    right.
    """

    @functools.wraps(loss)
    def precise(student_logits, teacher_logits, temperature=4.0):
        return loss(student_logits.double(), teacher_logits.double(), temperature).to(
            student_logits.dtype
        )

    return precise


@_in_doubles
def soft_batchmean(student_logits, teacher_logits, temperature=4.0):
    """F.kl_div with reduction="batchmean\""""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return temperature**2 * F.kl_div(log_p_s, log_p_t, reduction="batchmean", log_target=True)


@_in_doubles
def soft_by_hand(student_logits, teacher_logits, temperature=4.0):
    """a sum over classes and a mean over the batch, by hand"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean() * temperature**2


@_in_doubles
def soft_cross_entropy(student_logits, teacher_logits, temperature=4.0):
    """the soft cross-entropy less the teacher's entropy"""
    p_t = F.softmax(teacher_logits / temperature, 1)
    entropy = F.cross_entropy(teacher_logits / temperature, p_t)
    return (F.cross_entropy(student_logits / temperature, p_t) - entropy) * temperature**2


@_in_doubles
def soft_sample_by_sample(student_logits, teacher_logits, temperature=4.0):
    """a loop over the samples"""
    pairs = zip(student_logits, teacher_logits, strict=True)
    return torch.stack(
        [soft_by_hand(z_s[None], z_t[None], temperature) for z_s, z_t in pairs]
    ).mean()


def soft_mean(student_logits, teacher_logits, temperature=4.0):
    """the code of case 1"""
    log_p_s = F.log_softmax(student_logits / temperature, dim=1)
    p_t = F.softmax(teacher_logits / temperature, dim=1)
    return (
        F.kl_div(log_p_s, p_t, reduction="none").mean() * temperature**2
    )  # as "mean", without torch's warning


def soft_mean_by_hand(student_logits, teacher_logits, temperature=4.0):
    """.mean() over batch and classes, by hand"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return temperature**2 * (log_p_t.exp() * (log_p_t - log_p_s)).mean()


def soft_sum_over_numel(student_logits, teacher_logits, temperature=4.0):
    """the sum over all elements ÷ their number"""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    loss = F.kl_div(log_p_s, log_p_t, reduction="sum", log_target=True)
    return temperature**2 * loss / student_logits.numel()


# --- case 2: soft_weight · T² · KL, and (1 − soft_weight) · CE where there are labels -------------


def both_branches(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
    """T² inside the soft term, before the branches part"""
    loss = soft_weight * soft_batchmean(student_logits, teacher_logits, temperature)
    return (
        loss
        if labels is None
        else loss + (1 - soft_weight) * F.cross_entropy(student_logits, labels)
    )


def both_branches_apart(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    """T² written once in each branch"""
    soft = soft_by_hand(student_logits, teacher_logits, temperature) / temperature**2
    if labels is None:
        return temperature * temperature * soft_weight * soft
    hard = F.nll_loss(F.log_softmax(student_logits, 1), labels)
    return temperature * temperature * soft_weight * soft + (1 - soft_weight) * hard


def both_branches_by_weight(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    """a label term that is zero where there are no labels"""
    hard = (
        student_logits.new_zeros(()) if labels is None else F.cross_entropy(student_logits, labels)
    )
    return (
        soft_weight * soft_cross_entropy(student_logits, teacher_logits, temperature)
        + (1 - soft_weight) * hard
    )


def _branches(labelled: Callable, unlabelled: Callable, told: str) -> Callable:
    """A loss of case 2 with a factor of its own, a function of T, in each branch."""

    def loss(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
        soft = (
            soft_weight * soft_by_hand(student_logits, teacher_logits, temperature) / temperature**2
        )
        if labels is None:
            return unlabelled(temperature) * soft
        return labelled(temperature) * soft + (1 - soft_weight) * F.cross_entropy(
            student_logits, labels
        )

    loss.__doc__ = told
    return loss


labelled_without = _branches(lambda t: 1, lambda t: t**2, "the code of case 2")
unlabelled_without = _branches(lambda t: t**2, lambda t: 1, "T² with labels, none without")
labelled_with_t = _branches(lambda t: t, lambda t: t**2, "T in place of T² with labels")
unlabelled_with_t = _branches(lambda t: t**2, lambda t: t, "T in place of T² without labels")

# --- case 3: the same loss as case 1, for logits of any size --------------------------------------


def underflow(student_logits, teacher_logits, temperature=4.0):
    """the code of case 3"""
    p_s, p_t = (torch.softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (p_t * (p_t.log() - p_s.log())).sum(1).mean() * temperature**2


def underflow_in_ratio(student_logits, teacher_logits, temperature=4.0):
    """p_t · log(p_t / p_s)"""
    p_s, p_t = (torch.softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return (p_t * (p_t / p_s).log()).sum(1).mean() * temperature**2


def underflow_of_student(student_logits, teacher_logits, temperature=4.0):
    """log_softmax for the teacher, log(softmax) for the student"""
    log_p_t = F.log_softmax(teacher_logits / temperature, 1)
    log_p_s = torch.softmax(student_logits / temperature, 1).log()
    return (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean() * temperature**2


def underflow_of_teacher(student_logits, teacher_logits, temperature=4.0):
    """log_softmax for the student, log(softmax) for the teacher"""
    p_t = torch.softmax(teacher_logits / temperature, 1)
    log_p_s = F.log_softmax(student_logits / temperature, 1)
    return (p_t * (p_t.log() - log_p_s)).sum(1).mean() * temperature**2


# --- case 4: a trainer that validates after every epoch -------------------------------------------


def accuracy(network: nn.Module, batches) -> float:
    """% of the images that the network, in the mode in which it is, puts into the right class."""
    with torch.no_grad():
        right = sum(
            (network(images).argmax(1) == labels).sum().item() for images, labels in batches
        )
    return 100 * right / sum(len(labels) for _, labels in batches)


def _steps(network, optimiser, batches):
    for images, labels in batches:
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()


def train_each_epoch(student, train_batches, val_batches, epochs=2, lr=0.1):
    """train() at the start of each epoch"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    for _ in range(epochs):
        student.train()
        _steps(student, optimiser, train_batches)
        student.eval()
        accuracies.append(accuracy(student, val_batches))
    return accuracies


def train_after_validation(student, train_batches, val_batches, epochs=2, lr=0.1):
    """train() after each validation"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    student.train()
    for _ in range(epochs):
        _steps(student, optimiser, train_batches)
        student.eval()
        accuracies.append(accuracy(student, val_batches))
        student.train()
    return accuracies


def validate_a_copy(student, train_batches, val_batches, epochs=2, lr=0.1):
    """validation of a copy"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    student.train()
    for _ in range(epochs):
        _steps(student, optimiser, train_batches)
        accuracies.append(accuracy(copy.deepcopy(student).eval(), val_batches))
    return accuracies


def left_in_eval(student, train_batches, val_batches, epochs=2, lr=0.1):
    """the code of case 4"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    student.train()
    for _ in range(epochs):
        _steps(student, optimiser, train_batches)
        student.eval()
        accuracies.append(accuracy(student, val_batches))
    return accuracies


def trains_again_at_the_end(student, train_batches, val_batches, epochs=2, lr=0.1):
    """eval after the first validation, and train() when all is over"""
    accuracies = left_in_eval(student, train_batches, val_batches, epochs, lr)
    student.train()
    return accuracies


def eval_by_train_false(student, train_batches, val_batches, epochs=2, lr=0.1):
    """train(False) for validation, train() in the first epoch alone"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    for epoch in range(epochs):
        if epoch == 0:
            student.train()
        _steps(student, optimiser, train_batches)
        student.train(False)
        accuracies.append(accuracy(student, val_batches))
    return accuracies


def validates_in_train_mode(student, train_batches, val_batches, epochs=2, lr=0.1):
    """no eval() at all: batch norm takes in the validation images"""
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    student.train()
    for _ in range(epochs):
        _steps(student, optimiser, train_batches)
        accuracies.append(accuracy(student, val_batches))
    return accuracies


# --- case 5: a trainer with a teacher -------------------------------------------------------------


def _taught(student, teacher, batches, epochs, lr, temperature, each_epoch, guard=torch.no_grad):
    optimiser = torch.optim.SGD(student.parameters(), lr)
    for _ in range(epochs):
        each_epoch()
        for images in batches:
            with guard():
                teacher_logits = teacher(images)
            loss = soft_batchmean(student(images), teacher_logits, temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return loss.item()


def teacher_eval_each_epoch(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """train() for both, then eval() for the teacher, each epoch"""
    pair = nn.ModuleDict({"student": student, "teacher": teacher})
    return _taught(
        student, teacher, batches, epochs, lr, temperature, lambda: (pair.train(), teacher.eval())
    )


def student_train_alone(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """train() for the student alone"""
    teacher.eval()
    return _taught(
        student, teacher, batches, epochs, lr, temperature, student.train, torch.inference_mode
    )


def teacher_copied(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """a frozen copy of the teacher, the teacher itself left as it came"""
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    return _taught(student, frozen, batches, epochs, lr, temperature, student.train)


def teacher_trains(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """the code of case 5"""
    pair = nn.ModuleDict({"student": student, "teacher": teacher})
    teacher.eval()
    return _taught(student, teacher, batches, epochs, lr, temperature, pair.train)


def teacher_eval_at_the_end(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """the teacher in train mode, and eval() when all is over"""
    loss = teacher_trains(student, teacher, batches, epochs, lr, temperature)
    teacher.eval()
    return loss


def teacher_trains_in_the_second_epoch(
    student, teacher, batches, epochs=2, lr=0.1, temperature=4.0
):
    """train() for both after each epoch"""
    pair, first = nn.ModuleDict({"student": student, "teacher": teacher}), iter([True])
    student.train()
    teacher.eval()
    return _taught(
        student,
        teacher,
        batches,
        epochs,
        lr,
        temperature,
        lambda: next(first, None) or pair.train(),
    )


def both_in_eval(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """eval() for both: the student's batch norm stands still as well"""
    pair = nn.ModuleDict({"student": student, "teacher": teacher})
    return _taught(student, teacher, batches, epochs, lr, temperature, pair.eval)


# --- case 6: a hint through an adapter ------------------------------------------------------------


def _hinted(student, layer, batches, epochs, *optimisers):
    for _ in range(epochs):
        for images, hint in batches:
            loss = F.mse_loss(layer(student(images)), hint)
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
    return loss.item()


def adapter_chained(student, adapter, batches, epochs=2, lr=0.1):
    """the parameters of both in one list"""
    optimiser = torch.optim.SGD(chain(student.parameters(), adapter.parameters()), lr)
    return _hinted(student, adapter, batches, epochs, optimiser)


def adapter_in_a_group(student, adapter, batches, epochs=2, lr=0.1):
    """the adapter as a parameter group of its own"""
    optimiser = torch.optim.SGD(student.parameters(), lr)
    optimiser.add_param_group({"params": adapter.parameters()})
    return _hinted(student, adapter, batches, epochs, optimiser)


def adapter_with_its_own_optimiser(student, adapter, batches, epochs=2, lr=0.1):
    """an optimiser for each of the two"""
    optimisers = (torch.optim.SGD(module.parameters(), lr) for module in (student, adapter))
    return _hinted(student, adapter, batches, epochs, *optimisers)


def adapter_left_out(student, adapter, batches, epochs=2, lr=0.1):
    """the code of case 6"""
    return _hinted(student, adapter, batches, epochs, torch.optim.SGD(student.parameters(), lr))


def adapter_detached(student, adapter, batches, epochs=2, lr=0.1):
    """the adapter in the optimiser, its weights detached"""
    optimiser = torch.optim.SGD(chain(student.parameters(), adapter.parameters()), lr)

    def layer(features):
        return torch.func.functional_call(
            adapter, {n: p.detach() for n, p in adapter.named_parameters()}, (features,)
        )

    return _hinted(student, layer, batches, epochs, optimiser)


def adapter_frozen(student, adapter, batches, epochs=2, lr=0.1):
    """requires_grad_(False) on the adapter"""
    adapter.requires_grad_(False)
    return adapter_left_out(student, adapter, batches, epochs, lr)


def student_left_out(student, adapter, batches, epochs=2, lr=0.1):
    """the optimiser has the adapter alone"""
    return _hinted(student, adapter, batches, epochs, torch.optim.SGD(adapter.parameters(), lr))


# --- case 7: shuffled batches with the teacher's answers ------------------------------------------


def _orders(count, epochs, seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randperm(count, generator=draw) for _ in range(epochs)]


@torch.no_grad()
def answers_by_index(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers kept by index"""
    answers = teacher(images)
    orders = _orders(len(images), epochs, seed)
    return [(images[i], answers[i]) for order in orders for i in order.split(batch_size)]


@torch.no_grad()
def answers_live(teacher, images, batch_size=4, epochs=2, seed=0):
    """the teacher asked anew for each batch"""
    orders = _orders(len(images), epochs, seed)
    return [(images[i], teacher(images[i])) for order in orders for i in order.split(batch_size)]


@torch.no_grad()
def answers_one_by_one(teacher, images, batch_size=4, epochs=2, seed=0):
    """images answered one by one, kept in a table"""
    precise = copy.deepcopy(
        teacher
    ).double()  # rounds otherwise: a check for equality to the last digit asks too much
    table = {i: precise(images[i : i + 1].double())[0].float() for i in range(len(images))}
    orders = _orders(len(images), epochs, seed)
    batches = [order.split(batch_size) for order in orders]
    return [
        (images[i], torch.stack([table[int(j)] for j in i])) for epoch in batches for i in epoch
    ]


@torch.no_grad()
def answers_in_another_order(teacher, images, batch_size=4, epochs=2, seed=0):
    """the code of case 7"""
    first, *orders = _orders(len(images), epochs + 1, seed)
    answers = [teacher(images[i]) for i in first.split(batch_size)]
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


@torch.no_grad()
def answers_of_the_first_epoch(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers of the first epoch, used again by position in the next ones"""
    orders = _orders(len(images), epochs, seed)
    answers = [teacher(images[i]) for i in orders[0].split(batch_size)]
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


@torch.no_grad()
def answers_unshuffled(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers in the order of the files, images shuffled"""
    answers = teacher(images).split(batch_size)
    orders = _orders(len(images), epochs, seed)
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


# --- case 8: views of the images with the teacher's answers ---------------------------------------


@torch.no_grad()
def same_views(teacher, images, augment):
    """the augmentation drawn once"""
    views = augment(images)
    return views, teacher(views)


@torch.no_grad()
def same_draws(teacher, images, augment):
    """the augmentation called twice with the same random numbers"""
    state = torch.get_rng_state()
    views = augment(images)
    torch.set_rng_state(state)
    return views, teacher(augment(images))


@torch.no_grad()
def views_one_by_one(teacher, images, augment):
    """image by image"""
    views, precise = (
        torch.cat([augment(image[None]) for image in images]),
        copy.deepcopy(teacher).double(),
    )
    return views, torch.cat([precise(view[None].double()) for view in views]).float()


@torch.no_grad()
def other_views(teacher, images, augment):
    """the code of case 8"""
    return augment(images), teacher(augment(images))


@torch.no_grad()
def answers_to_whole_images(teacher, images, augment):
    """the teacher sees the images as they are"""
    return augment(images), teacher(images)


@torch.no_grad()
def views_of_views(teacher, images, augment):
    """the teacher sees the student's view, augmented once more"""
    views = augment(images)
    return views, teacher(augment(views))


# --- case 9: which epoch is reported --------------------------------------------------------------


def best_on_validation(val_accuracy, test_accuracy):
    """the first epoch that is best on validation"""
    epoch = int(np.argmax(val_accuracy))
    return epoch, float(test_accuracy[epoch])


def last_best_on_validation(val_accuracy, test_accuracy):
    """the last epoch that is best on validation"""
    epoch = max(range(len(val_accuracy)), key=lambda e: (val_accuracy[e], e))
    return epoch, float(test_accuracy[epoch])


def last_epoch(val_accuracy, test_accuracy):
    """the last epoch"""
    return len(test_accuracy) - 1, float(test_accuracy[-1])


def best_on_test(val_accuracy, test_accuracy):
    """the code of case 9"""
    best_epoch, best = 0, 0.0
    for epoch, value in enumerate(test_accuracy):
        if value > best:
            best_epoch, best = epoch, value
    return best_epoch, float(best)


def last_best_on_test(val_accuracy, test_accuracy):
    """the last epoch that is best on test"""
    epoch = max(range(len(test_accuracy)), key=lambda e: (test_accuracy[e], e))
    return epoch, float(test_accuracy[epoch])


def best_test_figure(val_accuracy, test_accuracy):
    """the epoch that is best on validation, with the best figure on test"""
    return int(np.argmax(val_accuracy)), float(max(test_accuracy))


# --- case 10: training and test images as the network gets them -----------------------------------


def _flipped(images):
    return torch.where((torch.rand(len(images)) < 0.5)[:, None, None, None], images.flip(3), images)


def train_flipped_alone(train_images, test_images, mean, std):
    """training images flipped, test images not"""
    return (_flipped(train_images) - mean) / std, (test_images - mean) / std


def normalised_first(train_images, test_images, mean, std):
    """normalised first, then training images flipped"""
    train, test = ((images - mean) * (1 / std) for images in (train_images, test_images))
    return _flipped(train), test


def flipped_one_by_one(train_images, test_images, mean, std):
    """image by image"""
    flipped = [image.flip(2) if torch.rand(()) < 0.5 else image for image in train_images]
    return torch.stack([(image - mean[0]) / std[0] for image in flipped]), (
        test_images - mean
    ) / std


def test_flipped(train_images, test_images, mean, std):
    """the code of case 10"""
    return (_flipped(train_images) - mean) / std, (_flipped(test_images) - mean) / std


def test_turned(train_images, test_images, mean, std):
    """both mirrored top to bottom at random"""
    both = (
        _flipped(images.transpose(2, 3)).transpose(2, 3) for images in (train_images, test_images)
    )
    return tuple((images - mean) / std for images in both)


def test_brightened(train_images, test_images, mean, std):
    """both with a random brightness"""
    both = (
        images * (0.9 + 0.2 * torch.rand(len(images), 1, 1, 1))
        for images in (train_images, test_images)
    )
    return tuple((images - mean) / std for images in both)


# --- the ward -------------------------------------------------------------------------------------

RIGHT = {
    1: (soft_batchmean, soft_by_hand, soft_cross_entropy, soft_sample_by_sample),
    2: (both_branches, both_branches_apart, both_branches_by_weight),
    3: (soft_batchmean, soft_by_hand, soft_cross_entropy),
    4: (train_each_epoch, train_after_validation, validate_a_copy),
    5: (teacher_eval_each_epoch, student_train_alone, teacher_copied),
    6: (adapter_chained, adapter_in_a_group, adapter_with_its_own_optimiser),
    7: (answers_by_index, answers_live, answers_one_by_one),
    8: (same_views, same_draws, views_one_by_one),
    9: (best_on_validation, last_best_on_validation, last_epoch),
    10: (train_flipped_alone, normalised_first, flipped_one_by_one),
}
BROKEN = {
    1: (soft_mean, soft_mean_by_hand, soft_sum_over_numel),
    2: (labelled_without, unlabelled_without, labelled_with_t, unlabelled_with_t),
    3: (underflow, underflow_in_ratio, underflow_of_student, underflow_of_teacher),
    4: (left_in_eval, trains_again_at_the_end, eval_by_train_false),
    5: (teacher_trains, teacher_eval_at_the_end, teacher_trains_in_the_second_epoch),
    6: (adapter_left_out, adapter_detached, adapter_frozen),
    7: (answers_in_another_order, answers_of_the_first_epoch, answers_unshuffled),
    8: (other_views, answers_to_whole_images, views_of_views),
    9: (best_on_test, last_best_on_test, best_test_figure),
    10: (test_flipped, test_turned, test_brightened),
}


def patient(case: int, right: bool, number: int) -> Callable:
    """One implementation of a case, under a name that does not say which."""
    function = (RIGHT if right else BROKEN)[case][number]

    def implementation(*args, **kwargs):
        return function(*args, **kwargs)

    return implementation


answer_parts.provide("implementation", patient)
