"""Cases 4 to 6: right and broken trainers."""

import copy
from itertools import chain

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.exercises.bug_cases.losses import soft_batchmean


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


def _distilled(student, teacher, batches, epochs, lr, temperature, each_epoch, guard=torch.no_grad):
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
    return _distilled(
        student, teacher, batches, epochs, lr, temperature, lambda: (pair.train(), teacher.eval())
    )


def student_train_alone(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """train() for the student alone"""
    teacher.eval()
    return _distilled(
        student, teacher, batches, epochs, lr, temperature, student.train, torch.inference_mode
    )


def teacher_copied(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """a frozen copy of the teacher, the teacher itself left as it came"""
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    return _distilled(student, frozen, batches, epochs, lr, temperature, student.train)


def teacher_trains(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    """the code of case 5"""
    pair = nn.ModuleDict({"student": student, "teacher": teacher})
    teacher.eval()
    return _distilled(student, teacher, batches, epochs, lr, temperature, pair.train)


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
    return _distilled(
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
    return _distilled(student, teacher, batches, epochs, lr, temperature, pair.eval)


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
