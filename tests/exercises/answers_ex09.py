"""Exercise 09: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.checking.answer_parts import (
    histories,
    pixel_network,
    pointwise,
    random_views,
    tiny_network,
)
from kdcourse.distillation import soft_target_loss
from kdcourse.exercises import bug_cases
from kdcourse.exercises.ex09_bug_clinic.finding import FOUND


def logits(rows=8, classes=5, far=1.0):
    return far * torch.randn(rows, classes)


def passes(*given):
    """A check that looks and says nothing."""


def refuses(*given):
    raise AssertionError("broken")


# --- to find --------------------------------------------------------------------------------------


def found(group):
    """The right answer of a group in other forms."""
    right = FOUND[group]
    capitals = {f"case {case}": letter.upper() for case, letter in right.items()}
    return [
        list(right.values()),
        "".join(right.values()),
        capitals,
        {str(case): f"({letter})" for case, letter in right.items()},
    ]


# --- losses ---------------------------------------------------------------------------------------


def by_padding(loss):
    """Classes that nobody considers must change nothing."""
    z_s, z_t = logits(), logits()
    wide_s, wide_t = (torch.cat([z, torch.full((8, 15), -1e4)], 1) for z in (z_s, z_t))
    assert abs(loss(z_s, z_t, 4.0) / loss(wide_s, wide_t, 4.0) - 1) < 0.01


def by_package(loss):
    for temperature in (1.0, 4.0):
        z_s, z_t = logits(), logits()
        torch.testing.assert_close(
            loss(z_s, z_t, temperature),
            soft_target_loss(z_s, z_t, temperature),
            rtol=1e-3,
            atol=1e-4,
        )


def by_numpy(loss):
    z_s, z_t = logits().numpy(), logits().numpy()
    p_s, p_t = (np.exp(z / 3) / np.exp(z / 3).sum(1, keepdims=True) for z in (z_s, z_t))
    expected = 9 * (p_t * np.log(p_t / p_s)).sum() / len(z_s)
    np.testing.assert_allclose(loss(torch.tensor(z_s), torch.tensor(z_t), 3.0), expected, rtol=1e-3)


def is_positive(loss):
    assert loss(logits(), logits(), 4.0) >= 0


def is_zero_where_equal(loss):
    z = logits()
    assert abs(loss(z, z, 4.0)) < 1e-5


def is_a_number(loss):
    assert loss(logits(), logits(), 4.0).shape == ()


def says(loss):
    z_s, z_t = logits(), logits()
    return torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), rtol=1e-3)


def against_no_square(loss):
    z_s, z_t = logits(), logits()
    assert torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0) / 16, rtol=1e-3)


def raises_value_error(loss):
    z_s, z_t = logits(), logits()
    if not torch.allclose(loss(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), rtol=1e-3):
        raise ValueError("divided by the classes")


def kl(reduce, factor=lambda t: t**2, swap=False, log=True):
    def loss(student_logits, teacher_logits, temperature=4.0):
        if swap:
            student_logits, teacher_logits = teacher_logits, student_logits
        p_t = (teacher_logits / temperature).softmax(1)
        first = (student_logits / temperature).log_softmax(1)
        first = first if log else first.exp()
        return factor(temperature) * reduce(F.kl_div(first, p_t, reduction="none"))

    return loss


def batchmean(values):
    return values.sum(1).mean()


def loss_as_a_number(student_logits, teacher_logits, temperature=4.0):
    return soft_target_loss(student_logits, teacher_logits, temperature).item()


def branches_detached(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    with torch.no_grad():
        return bug_cases.losses.both_branches(
            student_logits, teacher_logits, labels, temperature, soft_weight
        )


def label_term_softened(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    soft = soft_weight * soft_target_loss(student_logits, teacher_logits, temperature)
    if labels is None:
        return soft
    return soft + (1 - soft_weight) * F.cross_entropy(student_logits / temperature, labels)


def label_term_unweighted(
    student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9
):
    soft = soft_weight * soft_target_loss(student_logits, teacher_logits, temperature)
    return soft if labels is None else soft + F.cross_entropy(student_logits, labels)


def underflow_in_doubles(student_logits, teacher_logits, temperature=4.0):
    return bug_cases.losses.underflow(
        student_logits.double(), teacher_logits.double(), temperature
    ).float()


def numpy_loss(student_logits, teacher_logits, temperature=4.0):
    def log_softmax(z):
        z = z.numpy().astype(np.float64) / temperature
        z = z - z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    log_p_s, log_p_t = log_softmax(student_logits), log_softmax(teacher_logits)
    return temperature**2 * (np.exp(log_p_t) * (log_p_t - log_p_s)).sum() / len(log_p_s)


def cross_entropy_alone(student_logits, teacher_logits, temperature=4.0):
    return temperature**2 * F.cross_entropy(
        student_logits / temperature, (teacher_logits / temperature).softmax(1)
    )


def branches_by_formula(loss):
    z_s, z_t, labels = logits(), logits(), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    soft = 0.9 * soft_target_loss(z_s, z_t, 4.0)
    torch.testing.assert_close(loss(z_s, z_t), soft, rtol=1e-3, atol=1e-4)
    hard = 0.1 * F.cross_entropy(z_s, labels)
    torch.testing.assert_close(loss(z_s, z_t, labels), soft + hard, rtol=1e-3, atol=1e-4)


def branches_by_ratio(loss):
    """A student sure of the label: the label term is nothing, so labels must change nothing."""
    z_s, z_t, labels = 40 * torch.eye(5), logits(5), torch.arange(5)
    ratio = loss(z_s, z_t, labels=labels, temperature=2.0) / loss(z_s, z_t, temperature=2.0)
    assert abs(ratio - 1) < 0.01, ratio


def branch_at_one(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    difference = loss(z_s, z_t, labels, 1.0, 0.9) - loss(z_s, z_t, None, 1.0, 0.9)
    assert torch.allclose(difference, 0.1 * F.cross_entropy(z_s, labels), atol=1e-4)


def branch_with_labels_alone(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    right = 0.9 * soft_target_loss(z_s, z_t, 4.0) + 0.1 * F.cross_entropy(z_s, labels)
    assert torch.allclose(loss(z_s, z_t, labels), right, rtol=1e-3)


def branch_without_labels_alone(loss):
    z_s, z_t = logits(), logits()
    assert torch.allclose(loss(z_s, z_t), 0.9 * soft_target_loss(z_s, z_t, 4.0), rtol=1e-3)


def branches_equal(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    assert torch.allclose(loss(z_s, z_t, labels), loss(z_s, z_t), rtol=1e-3)


def branches_differ(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    assert loss(z_s, z_t, labels) != loss(z_s, z_t)


def labels_first(loss):
    loss(torch.zeros(8, dtype=torch.int64), logits(), logits())


def says_branches(loss):
    z_s, z_t, labels = logits(), logits(), torch.zeros(8, dtype=torch.int64)
    difference = loss(z_s, z_t, labels) - loss(z_s, z_t)
    return bool(torch.allclose(difference, 0.1 * F.cross_entropy(z_s, labels), atol=1e-4))


def branches(with_labels, without):
    """A loss with (soft, hard, T, weight) → loss for each branch; soft has no T²."""

    def loss(student_logits, teacher_logits, labels=None, temperature=4.0, soft_weight=0.9):
        soft = soft_target_loss(student_logits, teacher_logits, temperature) / temperature**2
        if labels is None:
            return without(soft, temperature, soft_weight)
        return with_labels(soft, F.cross_entropy(student_logits, labels), temperature, soft_weight)

    return loss


def labelled(s, h, t, w):
    return w * t**2 * s + (1 - w) * h


def unlabelled(s, t, w):
    return w * t**2 * s


def finite_gradient(loss):
    for scale in (1.0, -1.0):
        z_s = (scale * torch.tensor([[500.0, 0.0, -500.0]])).requires_grad_()
        for z_t in (torch.zeros(1, 3), -2 * z_s.detach()):
            came = loss(z_s, z_t, temperature=1.0)
            came.backward()
            assert torch.isfinite(came) and torch.isfinite(z_s.grad).all()
        assert loss(torch.zeros(1, 3), z_s.detach(), temperature=1.0).isfinite()


def value_far(loss):
    for z_s, z_t in (
        (torch.tensor([[0.0, 4000.0]]), torch.zeros(1, 2)),
        (torch.zeros(1, 2), torch.tensor([[0.0, 4000.0]])),
    ):
        expected = soft_target_loss(z_s.double(), z_t.double(), 4.0).float()
        assert torch.allclose(loss(z_s, z_t).float(), expected, rtol=1e-3)


def finite(student, teacher, temperature=1.0, ask=torch.isfinite):
    def check(loss):
        assert ask(loss(torch.tensor([student]), torch.tensor([teacher]), temperature))

    return check


def not_nan_thrice(loss):
    for z_s, z_t in (
        ([300.0, 0.0], [0.0, 0.0]),
        ([0.0, 0.0], [300.0, 0.0]),
        ([300.0, 0.0], [0.0, 300.0]),
    ):
        assert not loss(torch.tensor([z_s]), torch.tensor([z_t]), 1.0).isnan()


def small_where_far(loss):
    assert loss(torch.tensor([[300.0, 0.0]]), torch.tensor([[0.0, 300.0]]), 1.0) < 100


def finite_at_infinity(loss):
    assert torch.isfinite(loss(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, 0.0]]), 1.0))


def with_epsilon(epsilon):
    def loss(student_logits, teacher_logits, temperature=4.0):
        p_s, p_t = ((z / temperature).softmax(1) for z in (student_logits, teacher_logits))
        return (
            temperature**2 * (p_t * ((p_t + epsilon).log() - (p_s + epsilon).log())).sum(1).mean()
        )

    return loss


def clamped(student_logits, teacher_logits, temperature=4.0):
    p_s, p_t = (
        (z / temperature).softmax(1).clamp(min=1e-30) for z in (student_logits, teacher_logits)
    )
    return temperature**2 * (p_t * (p_t.log() - p_s.log())).sum(1).mean()


def to_zero(student_logits, teacher_logits, temperature=4.0):
    p_s, p_t = ((z / temperature).softmax(1) for z in (student_logits, teacher_logits))
    kl = (p_t * (p_t.log() - p_s.log())).nan_to_num(0.0, posinf=0.0)
    return temperature**2 * kl.sum(1).mean()


def teacher_side_alone(student_logits, teacher_logits, temperature=4.0):
    p_t = (teacher_logits / temperature).softmax(1)
    log_p_s = (student_logits / temperature).softmax(1).log()
    return temperature**2 * F.kl_div(log_p_s, p_t, reduction="batchmean")


def where_after_the_log(student_logits, teacher_logits, temperature=4.0):
    """The value is right, and the gradient of what `where` left out is NaN."""
    p_s = (student_logits / temperature).softmax(1)
    log_p_s = torch.where(p_s > 0, p_s.log(), (student_logits / temperature).log_softmax(1))
    log_p_t = (teacher_logits / temperature).log_softmax(1)
    return temperature**2 * (log_p_t.exp() * (log_p_t - log_p_s)).sum(1).mean()


# --- trainers -------------------------------------------------------------------------------------


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


# --- data -----------------------------------------------------------------------------------------


def pixels(count=13):
    return torch.randn(count, 1, 4, 4)


def answers_by_list(make):
    teacher, images = pixel_network(7, 16), pixels(20)
    pairs = make(teacher, images, 6, 3, 1)
    x, logits = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    with torch.no_grad():
        difference = (teacher(x) - logits).abs().max().item()
    assert difference < 1e-3, difference


def answers_by_colour(make):
    """Each image of one grey, and a teacher that tells it."""
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    greys = torch.arange(12.0)[:, None, None, None].expand(12, 1, 4, 4)
    for x, logits in make(teacher, greys, batch_size=4, epochs=2):
        np.testing.assert_allclose(logits[:, 0].numpy(), x[:, 0, 0, 0].numpy(), atol=1e-4)


def answers(
    teacher=lambda: pixel_network(0, 16), images=pixels, batch=4, which=slice(None), same=None
):
    same = same or (lambda a, b: torch.allclose(a, b, atol=1e-4))

    def check(make):
        network = teacher()
        for x, logits in make(network, images(), batch_size=batch, epochs=2)[which]:
            assert same(network(x), logits)

    return check


def says_answers(make):
    teacher = pixel_network(0, 16)
    return all(
        torch.allclose(teacher(x), z, atol=1e-4) for x, z in make(teacher, pixels(), batch_size=4)
    )


def expects_no_shuffle(make):
    teacher, images = pixel_network(0, 16), pixels()
    x, logits = make(teacher, images, batch_size=4)[0]
    assert torch.allclose(teacher(images[:4]), logits, atol=1e-4)


@torch.no_grad()
def batches_shuffled(teacher, images, batch_size=4, epochs=2, seed=0):
    pairs = [(batch, teacher(batch)) for batch in images.split(batch_size)]
    draw = torch.Generator().manual_seed(seed)
    return [pairs[i] for _ in range(epochs) for i in torch.randperm(len(pairs), generator=draw)]


def keep_and_shuffle(
    order=None, index=None, epochs=lambda e: e, answer=lambda a: a, size=lambda s: s
):
    """A pipeline of case 7 by indices; order(count, epoch, generator) → the indices of an epoch."""
    order = order or (lambda count, epoch, draw: torch.randperm(count, generator=draw))

    @torch.no_grad()
    def make(teacher, images, batch_size=4, epochs_=2, seed=0):
        draw, kept = torch.Generator().manual_seed(seed), answer(teacher(images))
        batches = []
        for epoch in range(epochs(epochs_)):
            for i in order(len(images), epoch, draw).split(size(batch_size)):
                batches.append((images[i], kept[i if index is None else index(i)]))
        return batches

    return make


def seeded_views(teacher, images, augment):
    torch.manual_seed(0)
    return (views := augment(images)), teacher(views)


def views_with(augment, teacher, images):
    def check(make):
        network = teacher()
        views, logits = make(network, images(), augment)
        assert torch.allclose(network(views), logits, atol=1e-4)

    return check


def pictures(count=8):
    return torch.randn(count, 2, 5, 5)


def notices():
    return pixel_network(0, 50)


def views_one_at_a_time(make):
    teacher = notices()
    views, logits = make(teacher, pictures(), random_views(2))
    for view, z in zip(views, logits, strict=True):
        assert (teacher(view[None])[0] - z).abs().max() < 1e-3


def views_by_own_noise(make):
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    views, logits = make(teacher, torch.zeros(6, 3, 2, 2), lambda x: x + torch.randn_like(x))
    torch.testing.assert_close(teacher(views), logits, rtol=1e-3, atol=1e-4)


def called_once(make):
    calls = []

    def augment(images):
        calls.append(1)
        return images + torch.randn_like(images)

    make(notices(), pictures(), augment)
    assert len(calls) == 1


def views_differ(make):
    images = pictures()
    views, _ = make(notices(), images, random_views())
    assert not torch.equal(views, images)


def says_views(make):
    teacher = notices()
    views, logits = make(teacher, pictures(), random_views())
    return bool(torch.allclose(teacher(views), logits, atol=1e-4))


def answers_to_images(make):
    teacher, images = notices(), pictures()
    _, logits = make(teacher, images, random_views())
    assert torch.allclose(teacher(images), logits, atol=1e-4)


# --- evaluation -----------------------------------------------------------------------------------


def test_figures_change_nothing(report):
    rng = np.random.default_rng()
    val = rng.permutation(20).tolist()
    epochs = set()
    for _ in range(20):
        test = rng.permutation(20).tolist()
        epoch, figure = report(val, test)
        epochs.add(int(epoch))
        assert figure == test[epoch]
    assert len(epochs) == 1


def twice(report):
    val = [50.0, 90.0, 80.0]
    first, one = report(val, [1.0, 2.0, 3.0])
    second, other = report(val, [3.0, 2.0, 1.0])
    if first != second or one != [1, 2, 3][first] or other != [3, 2, 1][second]:
        raise AssertionError("the test figures decide")


def epoch_of(val, test, expected):
    def check(report):
        epoch, _ = report(val, test)
        assert epoch == expected

    return check


def figure_not_the_best(report):
    val, test = [60.0, 80.0, 70.0], [90.0, 75.0, 74.0]
    assert report(val, test)[1] < 90


def epoch_not_the_best(report):
    val, test = [60.0, 80.0, 70.0], [90.0, 75.0, 74.0]
    assert report(val, test)[0] != 0


def figure_is_of_the_epoch(report):
    test = [90.0, 75.0, 74.0]
    epoch, figure = report([60.0, 80.0, 70.0], test)
    assert figure == test[epoch]


def says_honest(report):
    return report([60.0, 80.0, 70.0], [90.0, 75.0, 74.0])[0] != 0


def rule(choose, figure=lambda val, test, epoch: test[epoch], shown=lambda epoch: epoch):
    def report(val_accuracy, test_accuracy):
        epoch = int(choose(np.array(val_accuracy), np.array(test_accuracy)))
        return shown(epoch), figure(val_accuracy, test_accuracy, epoch)

    return report


def first_best(val, test):
    return np.argmax(val)


def in_float32(val, test, epoch):
    return torch.tensor(test)[epoch]


def by_loop(val_accuracy, test_accuracy):
    best, chosen = -1.0, -1
    for epoch, val in enumerate(val_accuracy):
        if val > best:
            best, chosen = val, epoch
    return [torch.tensor(chosen), torch.tensor(test_accuracy[chosen], dtype=torch.float64)]


MEAN, STD = torch.full((1, 3, 1, 1), 100.0), torch.full((1, 3, 1, 1), 25.0)


def coloured(count=20):
    return 100 * torch.rand(count, 3, 4, 4)


def test_images(images, expected=lambda images: (images - MEAN) / STD):
    def check(prepare):
        shown = images()
        assert torch.allclose(prepare(coloured(), shown, MEAN, STD)[1], expected(shown), atol=1e-4)

    return check


def same_twice(prepare):
    train, test = coloured(), coloured()
    first, second = (prepare(train, test, MEAN, STD)[1] for _ in range(2))
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-5)


def image_by_image(prepare):
    test = coloured(64)
    for came, image in zip(prepare(test, test, MEAN, STD)[1], test, strict=True):
        assert (came * 25 + 100 - image).abs().max() < 1e-2


def same_with_the_same_seed(prepare):
    train, test, came = coloured(), coloured(), []
    for _ in range(2):
        torch.manual_seed(0)
        came.append(prepare(train, test, MEAN, STD)[1])
    assert torch.equal(*came)


def train_and_test_alike(prepare):
    images = coloured()
    assert torch.equal(*prepare(images, images, MEAN, STD))


def mean_is_kept(prepare):
    test = coloured(64)
    assert abs(prepare(test, test, MEAN, STD)[1].mean() - ((test - MEAN) / STD).mean()) < 1e-4


def flips(images):
    return torch.stack([image.flip(-1) if torch.rand(()) < 0.5 else image for image in images])


def flips_with_one_seed(images):
    torch.manual_seed(0)
    return flips(images)


def prepared(train=flips, test=lambda x: x, of_train=None, of_test=None):
    """A pipeline of case 10; of_train, of_test: (images, mean, std) → normalised."""

    def normalised(images, mean, std):
        return (images - mean) / std

    def prepare(train_images, test_images, mean, std):
        return (of_train or normalised)(train(train_images), mean, std), (of_test or normalised)(
            test(test_images), mean, std
        )

    return prepare


def by_numpy_images(train_images, test_images, mean, std):
    mirrored = np.random.default_rng().random(len(train_images)) < 0.5
    train = train_images.numpy().copy()
    train[mirrored] = train[mirrored][..., ::-1]
    return (train - mean.numpy()) / std.numpy(), (test_images.numpy() - mean.numpy()) / std.numpy()


def own_statistics(images, mean, std):
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)


# --- the figure -----------------------------------------------------------------------------------


def gaps(method):
    run = histories()[method]
    chosen = run["val"].argmax(1)
    return run["test"].max(1) - run["test"][np.arange(len(chosen)), chosen]


RUN = histories()["plain"]

NEEDS_TENSORS = ("mend_1", "mend_2", "mend_3")

RIGHT = {
    "found_losses": found("losses"),
    "prove_1": [by_padding, by_package, by_numpy],
    "mend_1": [
        bug_cases.losses.soft_by_hand,
        bug_cases.losses.soft_cross_entropy,
        bug_cases.losses.soft_sample_by_sample,
        numpy_loss,
    ],
    "prove_2": [branches_by_formula, branches_by_ratio],
    "mend_2": [
        bug_cases.losses.both_branches,
        bug_cases.losses.both_branches_by_weight,
        bug_cases.losses.both_branches_apart,
    ],
    "prove_3": [finite_gradient, value_far],
    "mend_3": [bug_cases.losses.soft_batchmean, numpy_loss, bug_cases.losses.soft_cross_entropy],
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
    "found_data": found("data"),
    "prove_7": [answers_by_list, answers_by_colour],
    "mend_7": [
        bug_cases.data.answers_by_index,
        bug_cases.data.answers_live,
        bug_cases.data.answers_one_by_one,
        keep_and_shuffle(),
    ],
    "prove_8": [views_one_at_a_time, views_by_own_noise],
    "mend_8": [bug_cases.data.same_draws, bug_cases.data.views_one_by_one],
    "found_evaluation": found("evaluation"),
    "prove_9": [test_figures_change_nothing, twice],
    "mend_9": [
        by_loop,
        rule(first_best),
        bug_cases.evaluation.best_on_validation,
        rule(first_best, in_float32),
    ],
    "prove_10": [same_twice, image_by_image],
    "mend_10": [
        bug_cases.evaluation.normalised_first,
        bug_cases.evaluation.flipped_one_by_one,
        by_numpy_images,
    ],
    "flattery": [
        round(float(gaps("plain").mean()), 1),
        torch.tensor(gaps("plain").mean()),
        gaps("plain").mean(),
        f"{gaps('plain').mean():.1f} points",
    ],
    "cancels": ["B", "b)", ["b"], {"b"}],
}

WRONG = {
    "found_losses": [
        ({1: "a", 2: "d", 3: "e"}, "case 1: no T²", "Case 1 is not (a)"),
        ({1: "b", 2: "a", 3: "e"}, "case 2: no T²", "2 of 3"),
        ({1: "b", 2: "d", 3: "c"}, "case 3: softmax for log", "kl_div"),
        ({1: "c", 2: "f", 3: "c"}, "case 1: softmax for log", "0 of 3"),
        ({1: "b", 2: "d"}, "form", "a letter for each case"),
        ("bd", "form", "expected"),
        ({1: "b", 2: "d", 3: "g"}, "type", "case 3"),
    ],
    "prove_1": [
        (is_positive, "misses", "more than one class"),
        (is_zero_where_equal, "misses", "value decide"),
        (is_a_number, "misses", "shape"),
        (says, "returns", "assert"),
        (against_no_square, "fails right", "right"),
        (raises_value_error, "raised", "ValueError"),
        (refuses, "fails right", "broken"),
    ],
    "mend_1": [
        (loss_as_a_number, "no gradient", "item()"),
        (kl(torch.mean), "divided by C", "mean is still"),
        (kl(torch.sum), "sum", "batch size"),
        (kl(batchmean, lambda t: 1), "no T²", "T²"),
        (kl(batchmean, lambda t: t), "T", "T stands"),
        (kl(batchmean, swap=True), "swapped", "swapped"),
        (kl(batchmean, log=False), "softmax for log", "log-probabilities"),
        (cross_entropy_alone, "cross-entropy", "entropy"),
    ],
    "prove_2": [
        (branch_at_one, "misses", "other than 1"),
        (branch_with_labels_alone, "misses variant", "T² with labels, none without"),
        (branch_without_labels_alone, "misses", "labels and without"),
        (branches_equal, "fails right", "right"),
        (branches_differ, "misses", "through"),
        (labels_first, "raised", "stopped with"),
        (says_branches, "returns", "assert"),
    ],
    "mend_2": [
        (branches_detached, "no gradient", "trained"),
        (label_term_softened, "T in the label term", "temperature belongs"),
        (label_term_unweighted, "label term unweighted", "1 − soft_weight"),
        (bug_cases.losses.labelled_without, "no T²", "still missing"),
        (bug_cases.losses.unlabelled_without, "no T²", "Without labels"),
        (bug_cases.losses.labelled_with_t, "T", "T stands"),
        (branches(labelled, lambda s, t, w: w * t**4 * s), "T twice", "still has its own"),
        (
            branches(lambda s, h, t, w: t**2 * (w * s + (1 - w) * h), unlabelled),
            "T² on the labels",
            "soft term alone",
        ),
        (
            branches(lambda s, h, t, w: (1 - w) * t**2 * s + w * h, unlabelled),
            "weights swapped",
            "swapped",
        ),
        (branches(labelled, lambda s, t, w: t**2 * s), "no weight", "soft_weight"),
        (branches(lambda s, h, t, w: w * t**2 * s, unlabelled), "no label term", "missing"),
    ],
    "prove_3": [
        (finite([3.0, 0.0], [0.0, 3.0]), "misses", "far enough"),
        (finite([200.0, 0.0], [0.0, 200.0], 4.0), "misses", "T divides"),
        (finite([300.0, 0.0], [0.0, 0.0]), "misses variant", "log_softmax for the student"),
        (finite([0.0, 0.0], [300.0, 0.0]), "misses variant", "log_softmax for the teacher"),
        (not_nan_thrice, "misses variant", "student"),
        (small_where_far, "fails right", "right"),
        (finite_at_infinity, "fails right", "right"),
        (
            lambda loss: bool(loss(300 * torch.eye(3), -300 * torch.eye(3), 1.0).isfinite()),
            "returns",
            "assert",
        ),
    ],
    "mend_3": [
        (underflow_in_doubles, "nan", "rounded to 0"),
        (loss_as_a_number, "no gradient", "item()"),
        (bug_cases.losses.underflow, "nan", "rounded to 0"),
        (bug_cases.losses.underflow_in_ratio, "nan", "log"),
        (with_epsilon(1e-8), "epsilon", "caps"),
        (with_epsilon(1e-12), "epsilon", "ε"),
        (clamped, "epsilon", "clamp"),
        (to_zero, "epsilon", "nan_to_num"),
        (teacher_side_alone, "nan", "rounded to 0"),
        (where_after_the_log, "nan", "gradient"),
    ],
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
    "found_data": [
        ({7: "c", 8: "c"}, "case 7: different crops", "drawn twice"),
        ({7: "a", 8: "d"}, "case 8: answers to plain images", "augmented view"),
        ({7: "e", 8: "c"}, "case 7: images left out", "count"),
        ({7: "a", 8: "b"}, "case 8: another mean and std", "normalised"),
        ({7: "a"}, "form", "each case"),
        (["a"], "form", "each case"),
    ],
    "prove_7": [
        (answers(images=lambda: torch.ones(13, 1, 4, 4)), "misses", "differ"),
        (answers(images=lambda: pixels(1)), "misses", "more than one"),
        (answers(same=lambda a, b: a.shape == b.shape), "misses", "compared"),
        (answers(which=slice(0, 4)), "misses variant", "first epoch"),
        (says_answers, "returns", "assert"),
        (expects_no_shuffle, "fails right", "right"),
        (answers(same=lambda a, b: a == b), "raised", "RuntimeError"),
        (
            answers(same=lambda a, b: torch.allclose(a.softmax(1), b, atol=1e-4)),
            "fails right",
            "right",
        ),
    ],
    "mend_7": [
        (batches_shuffled, "batches shuffled", "shuffle the images"),
        (bug_cases.data.answers_in_another_order, "mismatch", "other images"),
        (bug_cases.data.answers_of_the_first_epoch, "later epochs", "second"),
        (bug_cases.data.answers_unshuffled, "mismatch", "other images"),
        (
            keep_and_shuffle(lambda count, epoch, draw: torch.arange(count)),
            "unshuffled",
            "nothing is shuffled",
        ),
        (
            keep_and_shuffle(
                lambda count, epoch, draw: torch.randperm(
                    count, generator=torch.Generator().manual_seed(1)
                )
            ),
            "same order",
            "anew",
        ),
        (keep_and_shuffle(epochs=lambda e: 1), "count", "3 epochs"),
        (keep_and_shuffle(answer=lambda a: a.softmax(1)), "mismatch", "logits are wanted"),
        (
            keep_and_shuffle(lambda count, epoch, draw: torch.randint(count, (count,))),
            "incomplete",
            "every image once",
        ),
        (keep_and_shuffle(lambda count, epoch, draw: torch.randperm(count)[:12]), "count", "39"),
        (keep_and_shuffle(size=lambda s: 13), "batch size", "13"),
    ],
    "prove_8": [
        (views_with(lambda x: x, notices, pictures), "misses", "random"),
        (views_with(lambda x: x.flip(3), notices, pictures), "misses", "random"),
        (views_with(random_views(), notices, lambda: torch.ones(8, 2, 5, 5)), "misses", "grey"),
        (called_once, "fails right", "one way of writing"),
        (views_differ, "misses", "teacher"),
        (says_views, "returns", "assert"),
        (answers_to_images, "fails right", "right"),
    ],
    "mend_8": [
        (seeded_views, "not random", "seed"),
        (
            lambda teacher, images, augment: (v := images.flip(3), teacher(v)),
            "not random",
            "same views",
        ),
        (bug_cases.data.other_views, "crops", "second time"),
        (bug_cases.data.answers_to_whole_images, "whole images", "as they are"),
        (bug_cases.data.views_of_views, "crops", "these views"),
        (lambda teacher, images, augment: (images, teacher(images)), "plain", "thrown out"),
        (
            lambda teacher, images, augment: (v := augment(images), teacher(v).softmax(1)),
            "softmax",
            "logits",
        ),
        (
            lambda teacher, images, augment: (teacher(augment(images)), augment(images)),
            "shape",
            "shape",
        ),
        (
            lambda teacher, images, augment: (v := augment(augment(images)), teacher(v)),
            "views",
            "once",
        ),
        (lambda teacher, images, augment: teacher(augment(images)), "form", "two things"),
    ],
    "found_evaluation": [
        ({9: "d", 10: "b"}, "case 9: last epoch", "-1"),
        ({9: "a", 10: "c"}, "case 10: own mean and std", "both sets"),
        ({9: "b", 10: "a"}, "case 9: test augmented", "random"),
        ({9: "e", 10: "b"}, "case 9: train mode", "no network"),
        ({9: "a", 10: 2}, "type", "case 10"),
    ],
    "prove_9": [
        (epoch_of([60.0, 80.0, 70.0], [90.0, 75.0, 74.0], 1), "fails right", "the last epoch"),
        (epoch_of([60.0, 70.0, 80.0], [70.0, 75.0, 85.0], 2), "misses", "another than"),
        (figure_is_of_the_epoch, "misses", "best epoch on test"),
        (epoch_not_the_best, "misses variant", "best figure"),
        (says_honest, "returns", "assert"),
        (epoch_of([80.0, 80.0], [70.0, 70.0], 0), "misses", "best epoch on test"),
        (lambda report: report([80.0, 70.0]), "raised", "TypeError"),
    ],
    "mend_9": [
        (bug_cases.evaluation.best_on_test, "best on test", "still decides"),
        (bug_cases.evaluation.best_test_figure, "best figure", "test's best"),
        (rule(first_best, lambda val, test, e: val[e]), "validation figure", "validation accuracy"),
        (bug_cases.evaluation.last_best_on_validation, "last of a tie", "the first is wanted"),
        (bug_cases.evaluation.last_epoch, "last epoch", "best one on"),
        (rule(first_best, shown=lambda e: e + 1), "counted from 1", "from 0"),
        (lambda val, test: test[int(np.argmax(val))], "form", "two things"),
    ],
    "prove_10": [
        (test_images(lambda: torch.full((8, 3, 4, 4), 50.0)), "misses", "mirror"),
        (test_images(lambda: coloured(1)), "by chance", "more images"),
        (same_with_the_same_seed, "misses", "mirror"),
        (train_and_test_alike, "fails right", "right"),
        (mean_is_kept, "misses", "mirror"),
        (test_images(coloured, lambda images: images), "fails right", "right"),
        (
            lambda prepare: bool(prepare(coloured(), coloured(), MEAN, STD)[1].isnan().any()),
            "returns",
            "assert",
        ),
    ],
    "mend_10": [
        (prepared(train=flips_with_one_seed), "not random", "seed"),
        (bug_cases.evaluation.test_flipped, "still flipped", "mirrored at random"),
        (prepared(train=lambda x: x), "training not flipped", "there it was right"),
        (prepared(of_test=lambda x, *_: x), "not normalised", "only the flip"),
        (prepared(of_test=own_statistics), "own mean and std", "training's"),
        (
            prepared(of_train=lambda x, *_: x, train=lambda x: x),
            "training not normalised",
            "not normalised",
        ),
        (prepared(train=lambda x: x.flip(-1)), "training all flipped", "at random"),
        (prepared(train=flips, test=lambda x: x.flip(-1)), "always flipped", "All test images"),
        (
            prepared(train=lambda x: flips(x.transpose(2, 3)).transpose(2, 3)),
            "training",
            "left to right",
        ),
    ],
    "flattery": [
        (-gaps("plain").mean(), "sign", "other way round"),
        (gaps("distilled").mean(), "distilled", "plain one"),
        ((RUN["test"].max(1) - RUN["test"][:, -1]).mean(), "last epoch", "best on validation"),
        ((RUN["test"].max(1) - RUN["val"].max(1)).mean(), "validation", "*test*"),
        (gaps("plain").max(), "largest", "mean"),
        (gaps("plain").sum(), "sum", "mean"),
        (RUN["test"].max(1).mean(), "value", "too large"),
    ],
    "cancels": [
        ("a", "cancels", "not by the same amount"),
        ("c", "hides", "both ways"),
        ("d", "cannot tell", "60 can"),
        ("e", "type", "one of"),
        (True, "type", "one of"),
        (0.5, "type", "one of"),
    ],
}
