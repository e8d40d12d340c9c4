from functools import partial

import pytest
import torch
from torch import nn

from kdcourse.common.errors import TrainingError, UsageError
from kdcourse.data import Batches
from kdcourse.distillation import Combined, CrossEntropy, Objective, ResponseKD, Teacher
from kdcourse.distillation.objective import check_weights
from kdcourse.training import adamw, fit


class Counting(nn.Sequential):
    """A small network with two convolutions, that counts how often it runs."""

    def __init__(self, width=4):
        super().__init__(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 3),
        )
        self.runs = 0

    def forward(self, images):
        self.runs += 1
        return super().forward(images)


class Hint(Objective):
    """An objective as an intermediate method has it: layers of both, and an adapter made from a dry
    run.
    """

    def __init__(self, teacher, student_layer="0", teacher_layer="0"):
        super().__init__(teacher, [student_layer], [teacher_layer])
        self.adapter, self.prepared, self.outputs = None, [], None

    def prepare(self, student, batch, samples):
        self.prepared.append((student, len(batch), samples))
        self.adapter = nn.Conv2d(4, 6, 1)

    def terms(self, student, teacher, batch):
        self.outputs = student, teacher
        hint = (
            self.adapter(student.features[self.student_layers[0]])
            - teacher.features[self.teacher_layers[0]]
        )
        return {"hint": hint.square().mean()}


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return Counting(4), Teacher(Counting(6))


@pytest.fixture
def batch(make_data):
    return next(Batches(make_data().train, 8).epoch())


def test_an_objective_sees_the_layers_it_names_and_each_network_runs_once(networks, batch):
    student, teacher = networks
    objective = Hint(teacher, "2", "0")
    objective.prepare(student, batch, 8)
    objective(student, batch)
    student_output, teacher_output = objective.outputs
    assert list(student_output.features) == ["2"] and student_output.features["2"].shape == (
        8,
        4,
        8,
        8,
    )
    assert list(teacher_output.features) == ["0"] and teacher_output.features["0"].shape == (
        8,
        6,
        8,
        8,
    )
    assert student_output.logits.requires_grad
    assert (
        not teacher_output.logits.requires_grad and not teacher_output.features["0"].requires_grad
    )
    assert student.runs == teacher.network.runs == 1
    assert torch.equal(teacher_output.logits, teacher(batch))


def test_without_a_teacher_nothing_is_taught(networks, batch):
    class Alone(Objective):
        def terms(self, student, teacher, batch):
            assert teacher is None
            return {"label": student.logits.sum()}

    assert list(Alone()(networks[0], batch)) == ["label"]
    assert Alone().prepare(networks[0], batch, 8) is None


def test_an_objective_must_say_its_terms(networks, batch):
    with pytest.raises(NotImplementedError):
        Objective()(networks[0], batch)


def test_a_teacher_that_is_not_held_frozen_is_refused(networks):
    with pytest.raises(
        UsageError, match=r"teacher= is a Counting: expected a Teacher.*Teacher\(network\)"
    ):
        Objective(networks[0])


def test_the_teachers_weights_belong_to_no_objective(networks, batch):
    student, teacher = networks
    objective = Combined([Hint(teacher), ResponseKD(teacher)], [1, 1])
    objective.prepare(student, batch, 8)
    names = {"objectives.0.adapter.weight", "objectives.0.adapter.bias"}
    assert (
        {name for name, _ in objective.named_parameters()} == set(objective.state_dict()) == names
    )


def test_combined_adds_up_what_has_the_same_name_times_its_weight(networks, batch):
    student, teacher = networks
    parts = [ResponseKD(teacher), CrossEntropy(), Hint(teacher)]
    whole = Combined(parts, [0.5, 2, 3])
    whole.prepare(student, batch, 8)
    soft, plain, hint = (part(student, batch) for part in parts)
    terms = whole(student, batch)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {
            "soft": 0.5 * soft["soft"].item(),
            "label": (0.5 * soft["label"] + 2 * plain["label"]).item(),
            "hint": 3 * hint["hint"].item(),
        }
    )


def test_combined_runs_each_network_once_and_sees_all_layers_of_its_parts(networks, batch):
    student, teacher = networks
    whole = Combined([Hint(teacher, "0", "0"), Hint(teacher, "2", "0"), CrossEntropy()], [1, 1, 1])
    assert whole.student_layers == ("0", "2") and whole.teacher_layers == ("0",)
    whole.prepare(student, batch, 8)
    whole(student, batch)
    assert student.runs == teacher.network.runs == 1


def test_combined_makes_its_parts_if_it_is_given_callables(networks, batch):
    student, teacher = networks
    whole = Combined([CrossEntropy, partial(ResponseKD, teacher, label_weight=0)], [1, 1])
    assert set(whole(student, batch)) == {"soft", "label"}
    assert "weights=(1, 1)" in repr(whole) and "soft_weight=0.9" in repr(whole)


@pytest.mark.parametrize("nested", [False, True])
def test_adapters_are_prepared_once_and_trained_by_fit(networks, make_data, nested):
    student, teacher = networks
    hint = Hint(teacher)
    objective = Combined([CrossEntropy(), hint], [1, 1])
    objective = Combined([objective], [1]) if nested else objective
    start = []
    prepare = hint.prepare

    def watched(*given):
        prepare(*given)
        start.append(hint.adapter.weight.detach().clone())

    hint.prepare, data = watched, make_data()
    frame = fit(
        student, data, objective, epochs=6, batch_size=16, optimizer=partial(adamw, lr=0.02),
        augment=None, progress=False, device="cpu",
    ).frame()  # fmt: skip
    assert hint.prepared == [(student, 2, len(data.train))]
    assert not torch.equal(hint.adapter.weight, start[0])
    assert frame["hint"].iloc[-1] < 0.7 * frame["hint"].iloc[0]


@pytest.mark.parametrize(
    ("objectives", "weights", "says"),
    [
        ([], [], "0 objectives and 0 weights"),
        ([CrossEntropy()], [1, 1], "1 objectives and 2 weights: expected one weight each"),
        (
            [CrossEntropy(), CrossEntropy()],
            [1, -1],
            r"weights\[1\]=-1: expected a finite number, 0 or more",
        ),
        ([CrossEntropy()], [float("nan")], r"weights\[0\]=nan"),
        ([CrossEntropy(), CrossEntropy()], [0, 0], "nothing would be learned"),
        ([CrossEntropy(), nn.CrossEntropyLoss()], [1, 1], "CrossEntropyLoss is not an Objective"),
    ],
)
def test_what_cannot_be_combined_is_refused(objectives, weights, says):
    with pytest.raises(UsageError, match=says):
        Combined(objectives, weights)


def test_two_teachers_are_refused(networks):
    other = Teacher(Counting(6))
    with pytest.raises(UsageError, match="different teachers: hand the same Teacher to each"):
        Combined([ResponseKD(networks[1]), ResponseKD(other)], [1, 1])


def test_weights():
    check_weights()
    check_weights(soft_weight=0, label_weight=0.1)
    for wrong in (-1e-9, float("inf"), float("nan")):
        with pytest.raises(
            UsageError, match=f"hint_weight={wrong}: expected a finite number, 0 or more"
        ):
            check_weights(label_weight=1, hint_weight=wrong)
    with pytest.raises(
        UsageError, match="soft_weight and label_weight are 0: nothing would be learned"
    ):
        check_weights(soft_weight=0, label_weight=0.0)


def test_a_loss_that_is_not_finite_names_whose_logits_are_broken(networks, make_data):
    student, teacher = networks
    options = dict(epochs=1, batch_size=16, augment=None, progress=False, device="cpu")
    fit(student, make_data(), ResponseKD(teacher), **options)
    for broken, name in ((teacher.network, "teacher"), (student, "student and the teacher")):
        with torch.no_grad():
            broken[-1].bias[1] = float("nan")
        with pytest.raises(
            TrainingError,
            match=rf"batch 1: loss not finite \(soft = nan.*The logits of the {name} hold NaN",
        ):
            fit(student, make_data(), ResponseKD(teacher), **options)
