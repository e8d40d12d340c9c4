"""Response-based objectives in training."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from test_response import logits
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import TrainingError, UsageError
from kdcourse.data import Batches
from kdcourse.data.batches import Batch
from kdcourse.distillation import (
    CrossEntropy,
    DecoupledKD,
    LogitMatching,
    PartlyLabelled,
    RelationMatchingKD,
    ResponseKD,
    StandardisedKD,
    Teacher,
    decoupled_loss,
    logit_matching_loss,
    relation_matching_loss,
    soft_target_loss,
    standardised_soft_target_loss,
)
from kdcourse.distillation.hooks import ForwardOutput
from kdcourse.training import Recipe, adamw, constant, fit
from kdcourse.training.checkpoint import digest


def knowing(data, sharpness=1.0):
    """A teacher made by hand: the mean of an image tells its class, with logits that fall off with
    the distance.
    """
    level = torch.linspace(40, 200, len(data.classes))
    scaled = ((level[:, None] - torch.tensor(data.train.mean)) / torch.tensor(data.train.std)).mean(
        1
    )
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(len(data.channels), len(data.classes))
    )
    with torch.no_grad():
        network[2].weight[:] = sharpness * 2 * scaled[:, None] / len(data.channels)
        network[2].bias[:] = -sharpness * scaled**2
    return Teacher(network)


def small_net(channels=3, classes=3, width=8):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def fresh(seed=0):
    torch.manual_seed(seed)
    return small_net()


OBJECTIVES = {
    "ResponseKD": (ResponseKD, ("soft", "label")),
    "LogitMatching": (partial(LogitMatching, label_weight=0.5), ("logit", "label")),
    "DecoupledKD": (partial(DecoupledKD, nontarget_weight=2.0), ("target", "nontarget", "label")),
    "RelationMatchingKD": (RelationMatchingKD, ("inter", "intra", "label")),
    "StandardisedKD": (StandardisedKD, ("soft", "label")),
}


every_objective = pytest.mark.parametrize(("make", "names"), OBJECTIVES.values(), ids=OBJECTIVES)


@pytest.fixture
def seen():
    """Student's and teacher's answers to a batch, and the batch, without networks."""
    s, t, y = logits(dtype=torch.float32, classes=3)
    return (
        ForwardOutput(s),
        ForwardOutput(t),
        Batch(torch.zeros(len(y), 3, 8, 8), y, torch.arange(len(y)), epoch=0),
    )


def test_the_terms_are_named_and_weighted(seen, make_data):
    for make, names in OBJECTIVES.values():
        teacher = knowing(make_data())
        objective = make(teacher)
        terms = objective.terms(*seen)
        assert sorted(terms) == sorted(names)
        assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
        for name in names:
            double = {f"{name}_weight": 2 * getattr(objective, f"{name}_weight")}
            changed = make(teacher, **double).terms(*seen)
            for other in names:
                assert torch.allclose(changed[other], terms[other] * (2 if other == name else 1))
            alone = make(
                teacher, **{f"{other}_weight": float(other == name) for other in names}
            ).terms(*seen)
            assert list(alone) == [name]


def test_the_terms_are_those_of_the_functions(seen, make_data):
    teacher, (student, taught, batch) = knowing(make_data()), seen
    given = student.logits, taught.logits

    def values(objective):
        return {name: value.item() for name, value in objective.terms(*seen).items()}

    label = F.cross_entropy(student.logits, batch.labels).item()
    assert values(ResponseKD(teacher)) == pytest.approx(
        {"soft": 0.9 * soft_target_loss(*given, 4).item(), "label": 0.1 * label}
    )
    assert values(LogitMatching(teacher)) == pytest.approx(
        {"logit": logit_matching_loss(*given).item()}
    )
    assert values(StandardisedKD(teacher, 3, 0.5, 0.25)) == pytest.approx(
        {"soft": 0.5 * standardised_soft_target_loss(*given, 3).item(), "label": 0.25 * label}
    )
    parts = values(DecoupledKD(teacher))
    assert parts.pop("label") == pytest.approx(label)
    assert sum(parts.values()) == pytest.approx(
        decoupled_loss(*given, batch.labels, 4.0, 1.0, 8.0).item()
    )
    parts = values(RelationMatchingKD(teacher, temperature=3, inter_weight=0.5, intra_weight=1.5))
    assert parts.pop("label") == pytest.approx(label)
    assert parts["inter"] == pytest.approx(relation_matching_loss(*given, 3, 0.5, 0).item())
    assert sum(parts.values()) == pytest.approx(relation_matching_loss(*given, 3, 0.5, 1.5).item())


def test_d2s_and_d3s_losses_as_their_code_computes_them(seen, make_data):
    teacher, (student, taught, batch) = knowing(make_data()), seen
    ce = nn.CrossEntropyLoss()(student.logits, batch.labels)

    def theirs(T):
        return nn.KLDivLoss(reduction="batchmean")(
            F.log_softmax(student.logits / T, 1), F.softmax(taught.logits / T, 1)
        )

    def total(**settings):
        return sum(ResponseKD(teacher, **settings).terms(*seen).values())

    published = total(temperature=5, soft_weight=0.75 / 25, label_weight=0.25)
    assert torch.allclose(published, 0.25 * ce + 0.75 * theirs(5))
    meant = total(temperature=5, soft_weight=0.75, label_weight=0.25)
    assert torch.allclose(meant, 0.25 * ce + 0.75 * 25 * theirs(5))
    assert torch.allclose(
        total(temperature=4, soft_weight=0.4, label_weight=0.6), 0.6 * ce + 0.4 * 16 * theirs(4)
    )
    assert torch.allclose(total(temperature=4, soft_weight=1, label_weight=0), 16 * theirs(4))


def test_the_temperature_may_change_while_training(seen, make_data):
    for make, _ in OBJECTIVES.values():
        if make is not OBJECTIVES["LogitMatching"][0]:
            objective = make(knowing(make_data()))
            before = sum(objective.terms(*seen).values())
            objective.temperature = 7.0
            after = sum(objective.terms(*seen).values())
            assert not torch.allclose(before, after)
            assert torch.equal(
                after, sum(make(objective.teacher, temperature=7.0).terms(*seen).values())
            )


def test_the_settings_are_shown(make_data):
    for make, names in OBJECTIVES.values():
        objective = make(knowing(make_data()))
        for name in names:
            assert f"{name}_weight={getattr(objective, f'{name}_weight')}" in repr(objective)
        assert hasattr(objective, "temperature") == ("temperature=" in repr(objective))


def test_wrong_settings_are_refused(make_data):
    for make, names in OBJECTIVES.values():
        teacher = knowing(make_data())
        for name in names:
            for value in (-0.1, float("nan"), float("inf")):
                with pytest.raises(
                    UsageError, match=f"{name}_weight={value}: expected a finite number, 0 or more"
                ):
                    make(teacher, **{f"{name}_weight": value})
        with pytest.raises(UsageError, match="are 0: nothing would be learned"):
            make(teacher, **{f"{name}_weight": 0 for name in names})
        with pytest.raises(UsageError, match=r"teacher=None: .*CrossEntropy"):
            make(None)
        with pytest.raises(UsageError, match=r"teacher= is a Sequential: expected a Teacher"):
            make(small_net())
        if hasattr(make(teacher), "temperature"):
            with pytest.raises(UsageError, match="temperature=0: expected a finite number above 0"):
                make(teacher, temperature=0)


def test_label_smoothing(seen):
    student, _, batch = seen
    log_p = F.log_softmax(student.logits, 1)
    target = 0.8 * F.one_hot(batch.labels, 3) + 0.2 / 3
    got = CrossEntropy(label_smoothing=0.2).terms(student, None, batch)
    assert torch.allclose(got["label"], -(target * log_p).sum(1).mean())
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="label_smoothing="):
            CrossEntropy(label_smoothing=wrong)


def test_a_student_of_other_classes_than_the_teacher_is_told_of_the_label_map(make_data):
    data = make_data()
    batch = next(Batches(data.train, 8).epoch())
    with pytest.raises(
        UsageError, match=r"student_logits \(8, 2\) and teacher_logits \(8, 3\).*label_map"
    ):
        ResponseKD(knowing(data))(small_net(classes=2), batch)


OPTIONS = dict(
    epochs=15,
    batch_size=16,
    augment=None,
    optimizer=partial(adamw, lr=0.03),
    progress=False,
    device="cpu",
)


def test_a_student_learns_from_the_teacher_alone(make_data):
    """No label is seen, unless by the terms that need one to say which class is the target."""
    for make, names in OBJECTIVES.values():
        data = make_data()
        objective = make(knowing(data), label_weight=0)
        before, network = digest(objective.teacher.network), fresh()
        frame = fit(network, data, objective, **OPTIONS).frame()
        assert set(names) - {"label"} <= set(frame.columns) and "label" not in frame.columns
        assert frame["loss"].iloc[-1] < 0.7 * frame["loss"].iloc[0]
        assert frame["val_accuracy"].iloc[-1] > 65  # chance is 33
        assert digest(objective.teacher.network) == before
        assert all(p.grad is None for p in objective.teacher.network.parameters())
        assert not list(objective.parameters()) and not objective.state_dict()


def test_labels_and_teacher_together_are_learned_from(make_data):
    for make, names in OBJECTIVES.values():
        data = make_data()
        frame = fit(fresh(), data, make(knowing(data)), **OPTIONS).frame()
        assert set(names) <= set(frame.columns)
        assert frame["loss"].iloc[-1] < 0.7 * frame["loss"].iloc[0]
        assert frame["val_accuracy"].iloc[-1] > 65


def test_bfloat16_autocast_costs_little_precision(make_data):
    """Student and teacher under autocast, in channels_last, against float32: terms within 3 %."""
    for make, names in OBJECTIVES.values():
        data = make_data()
        student = fresh().to(memory_format=torch.channels_last)
        batch = next(Batches(data.train, 64, seed=0).epoch())
        exact = make(knowing(data))(student, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = make(knowing(data))(student, batch)
        for name in names:
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.03)
            assert rough[name].item() != exact[name].item()  # else autocast was not on


def test_a_loss_that_overflows_stops_the_training_and_is_named(make_data):
    data = make_data()
    objective = LogitMatching(knowing(data, sharpness=1e30))
    with pytest.raises(TrainingError, match=r"epoch 1, batch 1: loss not finite \(logit = inf\)"):
        fit(fresh(), data, objective, **OPTIONS)


def test_the_key_of_a_recipe_follows_objective_temperature_weights_and_teacher(make_data):
    data = make_data()
    teacher, other = knowing(data), knowing(data, sharpness=5.0)
    objectives = [make for make, _ in OBJECTIVES.values()]
    variants = [partial(make, teacher) for make in objectives] + [
        partial(make, other) for make in objectives
    ]
    variants += [
        partial(ResponseKD, teacher, temperature=2.0),
        partial(ResponseKD, teacher, soft_weight=0.5),
    ]
    keys = [
        Recipe(small_net, objective, epochs=1, schedule=constant).key(data)
        for objective in variants
    ]
    assert len(set(keys)) == len(keys)
    again = Recipe(small_net, partial(ResponseKD, knowing(data)), epochs=1, schedule=constant).key(
        data
    )
    assert again == keys[0]  # the teacher counts by its weights, not by being the same object


def test_labels_count_where_there_are_some(make_data):
    data = make_data()
    student, network = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)) for _ in range(2))
    teacher, batch = Teacher(network), next(Batches(data.train, 8).epoch())
    every = ResponseKD(teacher)(student, batch)
    assert PartlyLabelled(teacher, range(len(data.train)))(student, batch) == every
    some = PartlyLabelled(teacher, [5, 1, 70])(student, batch)
    at = torch.isin(batch.index, torch.tensor([1, 5]))
    expected = (
        0.1 / 8 * F.cross_entropy(student(batch.images)[at], batch.labels[at], reduction="sum")
    )
    torch.testing.assert_close(some["label"], expected)
    assert some["soft"] == every["soft"]
    wrong = replace(batch, labels=torch.where(at, batch.labels, 0))
    assert (
        PartlyLabelled(teacher, [1, 5])(student, wrong)["label"] == some["label"]
    )  # others are never looked at
    none = PartlyLabelled(teacher, [])(student, batch)
    assert none["label"] == 0 and sum(none.values()).requires_grad
    assert set(PartlyLabelled(teacher, [1], label_weight=0)(student, batch)) == {"soft"}
    with pytest.raises(UsageError, match="images 1 to 900"):
        PartlyLabelled(teacher, [1, 900]).prepare(student, batch, len(data.train))
