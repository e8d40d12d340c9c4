"""Exercise 09: right and wrong answers on cases 4 to 6, trainers."""

import copy

import torch
from clinic_common import found
from torch import nn
from torch.nn import functional as F

from kdcourse.checking.answer_parts import (
    pointwise,
    tiny_network,
)
from kdcourse.distillation import soft_target_loss
from kdcourse.exercises import bug_cases


def labelled_batches(count=3):
    return [(torch.randn(8, 1, 6, 6) + 1, torch.randint(3, (8,))) for _ in range(count)]


def by_modes_seen(train):
    """The modes in which the student ran while gradients were made."""
    student, modes = tiny_network(3, 1, 3), []
    student.register_forward_hook(
        lambda module, *_: modes.append(module.training) if torch.is_grad_enabled() else None
    )
    train(student, labelled_batches(), labelled_batches(1), 3, 0.1)
    assert len(modes) == 9 and all(modes), modes


def by_running_mean(train):
    """After one epoch and after two: it must have gone on."""
    means, batches = [], labelled_batches()
    for epochs in (1, 2):
        student = tiny_network(3, 1, 3)
        train(student, batches, labelled_batches(1), epochs=epochs, lr=0.0)
        means.append(student.norm.running_mean.clone())
    assert not torch.allclose(*means, atol=1e-6)


def training_afterwards(train):
    student = tiny_network(0, 1, 3)
    train(student, labelled_batches(), labelled_batches(1))
    assert student.training


def one_epoch(train):
    student = tiny_network(0, 1, 3)
    train(student, labelled_batches(), labelled_batches(1), epochs=1)
    assert student.norm.num_batches_tracked == 3


def weights_move(train):
    student = tiny_network(0, 1, 3)
    before = copy.deepcopy(student.conv.weight)
    train(student, labelled_batches(), labelled_batches(1))
    assert not torch.equal(student.conv.weight, before)


def mean_moves(train):
    student = tiny_network(0, 1, 3)
    before = student.norm.running_mean.clone()
    train(student, labelled_batches(), labelled_batches(1), epochs=2)
    assert not torch.equal(student.norm.running_mean, before)


def mean_moves_without_a_copy(train):
    student = tiny_network(0, 1, 3)
    before = student.norm.running_mean
    train(student, labelled_batches(), labelled_batches(1), epochs=2)
    assert not torch.equal(student.norm.running_mean, before)


def says_counted(train):
    student = tiny_network(0, 1, 3)
    train(student, labelled_batches(), labelled_batches(1), epochs=2)
    return bool(student.norm.num_batches_tracked == 6)


def counts_validation(train):
    student = tiny_network(0, 1, 3)
    train(student, labelled_batches(), labelled_batches(1), epochs=2)
    assert student.norm.num_batches_tracked == 8


def hundred_percent(train):
    assert train(tiny_network(0, 1, 3), labelled_batches(), labelled_batches(1))[-1] > 99


def validates_before(student, train_batches, val_batches, epochs=2, lr=0.1):
    optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
    for _ in range(epochs):
        accuracies.append(bug_cases.trainers.accuracy(student.eval(), val_batches))
        steps(student.train(), optimiser, train_batches)
    return accuracies


def steps(student, optimiser, batches):
    for images, labels in batches:
        optimiser.zero_grad()
        F.cross_entropy(student(images), labels).backward()
        optimiser.step()


def trainer(
    before=lambda s: None,
    validate=nn.Module.eval,
    after=lambda s: None,
    told=lambda a: a,
    step=steps,
):
    """A trainer of case 4, from what it does before an epoch, to validate, and after validation."""

    def train(student, train_batches, val_batches, epochs=2, lr=0.1):
        optimiser, accuracies = torch.optim.SGD(student.parameters(), lr), []
        student.train()
        for _ in range(epochs):
            before(student)
            step(student, optimiser, train_batches)
            validate(student)
            accuracies.append(bug_cases.trainers.accuracy(student, val_batches))
            after(student)
        return told(accuracies)

    return train


def steps_without_zero(student, optimiser, batches):
    for images, labels in batches:
        F.cross_entropy(student(images), labels).backward()
        optimiser.step()


def quiet_teacher():
    return tiny_network(1, 1, 3).eval()


def images(count=3):
    return [torch.randn(8, 1, 6, 6) + 1 for _ in range(count)]


def buffers_alone(train):
    teacher = quiet_teacher()
    before = [value.clone() for value in teacher.buffers()]
    train(tiny_network(0, 1, 3), teacher, images(), epochs=2)
    assert all(torch.equal(old, new) for old, new in zip(before, teacher.buffers(), strict=True))


def answers_stay(train):
    teacher, probe = quiet_teacher(), torch.randn(16, 1, 6, 6)
    before = teacher(probe)
    train(tiny_network(0, 1, 3), teacher, images(), 3, 0.1, 2.0)
    assert torch.allclose(teacher.eval()(probe), before, atol=1e-6)


def parameters_stay(train):
    teacher = quiet_teacher()
    before = [value.clone() for value in teacher.parameters()]
    train(tiny_network(0, 1, 3), teacher, images())
    assert all(torch.equal(old, new) for old, new in zip(before, teacher.parameters(), strict=True))


def state_without_a_copy(train):
    teacher = quiet_teacher()
    before = teacher.state_dict()
    train(tiny_network(0, 1, 3), teacher, images())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def eval_afterwards(train):
    teacher = quiet_teacher()
    train(tiny_network(0, 1, 3), teacher, images())
    assert not teacher.training


def no_gradients(train):
    teacher = quiet_teacher()
    train(tiny_network(0, 1, 3), teacher, images())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def without_batch_norm(train):
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for _ in range(2))
    before = copy.deepcopy(teacher.state_dict())
    train(student, teacher, images())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def one_epoch_of_teaching(train):
    teacher = quiet_teacher()
    before = copy.deepcopy(teacher.state_dict())
    train(tiny_network(0, 1, 3), teacher, images(), epochs=1)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def student_stays(train):
    student = tiny_network(0, 1, 3)
    before = copy.deepcopy(student.state_dict())
    train(student, quiet_teacher(), images())
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def no_names(train):
    teacher = quiet_teacher()
    before = copy.deepcopy(teacher.state_dict())
    train(tiny_network(0, 1, 3), teacher, images())
    assert before == teacher.state_dict()


def teaching(
    modes,
    guard=torch.no_grad,
    more=lambda teacher: [],
    after=lambda teacher: None,
    loss=soft_target_loss,
):
    """A trainer of case 5, from the modes that it sets in each epoch."""

    def train(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
        optimiser = torch.optim.SGD([*student.parameters(), *more(teacher)], lr)
        for _ in range(epochs):
            modes(student, teacher)
            for batch in batches:
                with guard():
                    answers = teacher(batch)
                value = loss(student(batch), answers, temperature)
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
        after(teacher)
        return value.item()

    return train


def right_modes(student, teacher):
    student.train(), teacher.eval()


def both_train(student, teacher):
    student.train(), teacher.train()


def put_back(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    before = copy.deepcopy(teacher.state_dict())
    value = teaching(both_train)(student, teacher, batches, epochs, lr, temperature)
    teacher.load_state_dict(before)
    return value


def teacher_requires_none(student, teacher, batches, epochs=2, lr=0.1, temperature=4.0):
    teacher.requires_grad_(False)
    return teaching(right_modes, torch.enable_grad)(
        student, teacher, batches, epochs, lr, temperature
    )


def hints(count=3):
    return [(torch.randn(4, 2, 5, 5), torch.randn(4, 4, 5, 5)) for _ in range(count)]


def pair():
    return pointwise(0, 2, 3), pointwise(1, 3, 4)


def adapter_state_moves(train):
    student, adapter = pair()
    before = copy.deepcopy(adapter.state_dict())
    train(student, adapter, hints(), 2, 0.1)
    assert any(not torch.equal(before[name], value) for name, value in adapter.state_dict().items())


def adapter_answers_otherwise(train):
    student, adapter = pair()
    probe = torch.randn(1, 3, 5, 5)
    before = adapter(probe)
    train(student, adapter, hints())
    assert not torch.allclose(adapter(probe), before)


def loss_falls(train):
    batches = hints(1)
    losses = [train(*pair(), batches, epochs=epochs) for epochs in (1, 20)]
    assert losses[1] < losses[0]


def has_a_gradient(train):
    student, adapter = pair()
    train(student, adapter, hints())
    assert adapter.weight.grad is not None


def weights_without_a_copy(train):
    student, adapter = pair()
    before = adapter.weight
    train(student, adapter, hints())
    assert not torch.equal(adapter.weight, before)


def student_moves(train):
    student, adapter = pair()
    before = student.weight.detach().clone()
    train(student, adapter, hints())
    assert not torch.equal(student.weight, before)


def wants_gradients(train):
    student, adapter = pair()
    train(student, adapter, hints())
    assert all(parameter.requires_grad for parameter in adapter.parameters())


def no_step(train):
    student, adapter = pair()
    before = adapter.weight.detach().clone()
    train(student, adapter, hints(), epochs=1, lr=0.0)
    assert not torch.equal(adapter.weight, before)


def hinted(*optimisers, zero=True, step=(0, 1)):
    """A trainer of case 6, from what makes its optimisers."""

    def train(student, adapter, batches, epochs=2, lr=0.1):
        made = [make(student, adapter, lr) for make in optimisers]
        for _ in range(epochs):
            for batch, hint in batches:
                loss = F.mse_loss(adapter(student(batch)), hint)
                for optimiser in made if zero else made[:1]:
                    optimiser.zero_grad()
                loss.backward()
                for number in step[: len(made)]:
                    made[number].step()
        return loss.item()

    return train


def sgd(of):
    return lambda student, adapter, lr: torch.optim.SGD(of(student, adapter), lr)


def both(student, adapter):
    return nn.Sequential(student, adapter).parameters()


def fresh_adapter(student, adapter, batches, epochs=2, lr=0.1):
    return bug_cases.trainers.adapter_chained(student, nn.Conv2d(3, 4, 1), batches, epochs, lr)


RIGHT = {
    "found_trainers": found("trainers"),
    "prove_4": [by_modes_seen, by_running_mean],
    "mend_4": [
        bug_cases.trainers.train_after_validation,
        bug_cases.trainers.validate_a_copy,
        trainer(after=nn.Module.train),
    ],
    "prove_5": [buffers_alone, answers_stay],
    "mend_5": [
        bug_cases.trainers.student_train_alone,
        bug_cases.trainers.teacher_copied,
        teaching(right_modes),
        teacher_requires_none,
    ],
    "prove_6": [adapter_state_moves, adapter_answers_otherwise],
    "mend_6": [
        bug_cases.trainers.adapter_in_a_group,
        bug_cases.trainers.adapter_with_its_own_optimiser,
        hinted(sgd(both)),
    ],
}


WRONG = {
    "found_trainers": [
        ({4: "e", 5: "e", 6: "d"}, "case 4: teacher in train mode", "Case 4"),
        ({4: "b", 5: "a", 6: "d"}, "case 5: teacher with gradients", "no_grad"),
        ({4: "b", 5: "c", 6: "d"}, "case 5: teacher trained", "optimiser"),
        ({4: "b", 5: "e", 6: "f"}, "case 6: gradients add up", "zero_grad"),
        (["b", "e"], "form", "a letter for each case"),
    ],
    "prove_4": [
        (training_afterwards, "fails right", "a certain state"),
        (one_epoch, "misses", "two epochs"),
        (weights_move, "misses", "the weights do not"),
        (mean_moves, "misses", "two epochs"),
        (mean_moves_without_a_copy, "fails right", "right"),
        (says_counted, "returns", "assert"),
        (counts_validation, "fails right", "right"),
        (hundred_percent, "fails right", "right"),
    ],
    "mend_4": [
        (trainer(after=nn.Module.train, told=lambda a: 3 * a[-1:]), "last repeated", "each epoch"),
        (validates_before, "value", "differ"),
        (bug_cases.trainers.left_in_eval, "still in eval", "stands still"),
        (bug_cases.trainers.trains_again_at_the_end, "still in eval", "eval mode"),
        (trainer(validate=lambda s: None), "validation in train mode", "validation images"),
        (trainer(after=nn.Module.train, told=lambda a: [v / 100 for v in a]), "fraction", "%"),
        (trainer(after=nn.Module.train, told=lambda a: a[-1]), "last alone", "list"),
        (trainer(after=nn.Module.train, step=steps_without_zero), "another student", "fault alone"),
        (trainer(before=nn.Module.eval), "another student", "0 batches"),
    ],
    "prove_5": [
        (parameters_stay, "misses", "buffers"),
        (state_without_a_copy, "misses", "copy"),
        (eval_afterwards, "misses variant", "when all is over"),
        (no_gradients, "misses", "batch norm"),
        (without_batch_norm, "misses", "batch norm"),
        (one_epoch_of_teaching, "misses variant", "after each epoch"),
        (student_stays, "fails right", "right"),
        (no_names, "raised", "RuntimeError"),
    ],
    "mend_5": [
        (bug_cases.trainers.teacher_trains, "drifts", "running_mean"),
        (bug_cases.trainers.teacher_eval_at_the_end, "drifts", "train mode"),
        (put_back, "batch statistics", "statistics of each batch"),
        (bug_cases.trainers.both_in_eval, "student in eval", "student"),
        (
            teaching(right_modes, torch.enable_grad, loss=bug_cases.losses.soft_batchmean),
            "gradients",
            "no_grad",
        ),
        (
            teaching(
                right_modes,
                torch.enable_grad,
                lambda t: t.parameters(),
                loss=lambda s, t, T: F.mse_loss(s, t),
            ),
            "teacher trained",
            "weights were trained",
        ),
        (
            teaching(right_modes, loss=lambda s, t, T: soft_target_loss(s, t, T) / T**2),
            "another student",
            "fault alone",
        ),
    ],
    "prove_6": [
        (loss_falls, "misses", "loss falls"),
        (has_a_gradient, "misses", "gradient all the same"),
        (weights_without_a_copy, "fails right", "right"),
        (student_moves, "misses", "step"),
        (wants_gradients, "misses", "moves it"),
        (no_step, "fails right", "right"),
        (lambda train: bool(train(*pair(), hints()) > 1e9), "returns", "assert"),
    ],
    "mend_6": [
        (bug_cases.trainers.adapter_left_out, "adapter fixed", "no optimiser"),
        (bug_cases.trainers.adapter_frozen, "adapter fixed", "came with"),
        (bug_cases.trainers.student_left_out, "student fixed", "student"),
        (fresh_adapter, "adapter fixed", "came with"),
        (
            hinted(sgd(lambda s, a: s.parameters()), sgd(lambda s, a: a.parameters()), zero=False),
            "other steps",
            "zero_grad",
        ),
        (
            hinted(sgd(lambda s, a: s.parameters()), sgd(lambda s, a: a.parameters()), step=(0,)),
            "adapter fixed",
            "no optimiser",
        ),
        (hinted(lambda s, a, lr: torch.optim.Adam(both(s, a), lr)), "other steps", "plain SGD"),
    ],
}
