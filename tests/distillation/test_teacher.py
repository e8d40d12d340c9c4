"""A teacher stays frozen, and answers in the student's classes and normalisation."""

import copy
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import (
    CachedTeacher,
    Combined,
    ResponseKD,
    Teacher,
)
from kdcourse.training import Recipe, fit
from kdcourse.training.checkpoint import digest

AUGMENT = Augmentation("square", pad=1, jitter=0.1)


OPTIONS = dict(
    epochs=4, batch_size=16, augment=AUGMENT, views=2, seed=3, progress=False, device="cpu"
)


HALF = 2**-11  # the rounding of half precision, as a share of the number


def small_net(channels=3, classes=3, width=6):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def fresh(seed=0, **kwargs):
    torch.manual_seed(seed)
    return small_net(**kwargs)


def batches(split, **changes):
    return Batches(split, 16, **{"seed": 3, "augment": AUGMENT, "views": 2, **changes})


def first(split, **changes):
    return next(batches(split, **changes).epoch(0))


def views(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/view-???"))


def test_it_stays_in_eval_mode_and_frozen_whatever_is_called(make_data):
    batch, network = first(make_data().train), fresh(1)
    objective = ResponseKD(Teacher(network))
    expected = objective.teacher(batch)
    objective.train()
    objective.teacher.train()
    objective.requires_grad_(True)
    network.train()  # by whoever else holds it
    assert torch.equal(
        objective.teacher(batch), expected
    )  # dropout would change it, and batch norm
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not list(objective.parameters()) and not objective.state_dict()


@pytest.mark.parametrize("kind", [Teacher, CachedTeacher])
def test_training_a_student_leaves_every_bit_of_the_teacher(make_data, folder, kind):
    network = fresh(1)
    before, student = digest(network), fresh()
    fit(student, make_data(), ResponseKD(kind(network)), **OPTIONS)
    assert digest(network) == before
    assert all(p.grad is None for p in network.parameters())


def test_no_gradient_flows_even_to_weights_that_ask_for_it(make_data):
    network = fresh(1)
    teacher = Teacher(network)
    network.requires_grad_(True)
    seen = teacher.forward_with_features(first(make_data().train), ["0"])
    assert not seen.logits.requires_grad and not seen.features["0"].requires_grad


def test_it_moves_with_the_objective():
    network = fresh(1)
    settings = dict(
        normalisation=([0.0], [1.0]), student_normalisation=([1.0], [2.0]), label_map=[2, 0]
    )
    objective = Combined([ResponseKD(Teacher(network, **settings))], [1])
    objective.to("meta")
    assert {p.device.type for p in network.parameters()} == {"meta"}
    assert {b.device.type for b in objective.buffers()} == {"meta"}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize("kind", [Teacher, CachedTeacher])
def test_copies_and_pickles_answer_the_same(make_data, folder, kind, again):
    data = make_data()
    objective = ResponseKD(kind(fresh(1), label_map=[2, 1, 0]))
    expected = [objective.teacher(batch) for batch in batches(data.train).epoch(1)]  # opens a view
    other = again(objective)
    assert other.teacher.network is not objective.teacher.network
    assert all(
        torch.equal(other.teacher(b), z)
        for b, z in zip(batches(data.train).epoch(1), expected, strict=True)
    )
    assert not any(p.requires_grad for p in other.teacher.network.parameters())
    assert other.teacher.fingerprint == objective.teacher.fingerprint
    # neither the data nor the answers go with them: only the network
    assert len(pickle.dumps(objective)) < 2 * len(pickle.dumps(fresh(1))) + 5000


def test_the_student_cannot_be_the_teachers_own_network(make_data):
    network = fresh(1)
    with pytest.raises(UsageError, match="the student is the teacher's own network"):
        fit(network, make_data(), ResponseKD(Teacher(network)), **OPTIONS)


def test_a_teacher_in_the_place_of_the_network_is_taken_with_its_settings(make_data):
    network, batch = fresh(1), first(make_data().train)
    inner = Teacher(network, label_map=[2, 0, 1])
    outer = Teacher(inner)
    assert outer.network is network and torch.equal(outer(batch), inner(batch))
    assert outer.fingerprint == inner.fingerprint
    assert Teacher(CachedTeacher(inner)).fingerprint == inner.fingerprint
    with pytest.raises(UsageError, match="has its settings already"):
        Teacher(inner, label_map=[0, 1, 2])


def test_what_load_or_train_returns_is_not_a_network():
    with pytest.raises(UsageError, match=r"network= is a tuple.*\(network, history\)"):
        Teacher((fresh(), None))


def test_a_label_map_picks_columns(make_data):
    network, batch = fresh(1, classes=10), first(make_data().train)
    picked = Teacher(network, label_map=np.array([7, 0, 9]))
    assert torch.equal(picked(batch), Teacher(network)(batch)[:, [7, 0, 9]])
    assert torch.equal(picked.forward_with_features(batch, ["0"]).logits, picked(batch))
    student = fresh()
    fit(student, make_data(), ResponseKD(picked), **OPTIONS)


def test_label_maps_that_cannot_be():
    for wrong in [[0, 1, 1], [0, -1], [0.5, 1], [], ["a"], 7, [[0, 1]]]:
        with pytest.raises(UsageError, match="label_map= must be different whole numbers"):
            Teacher(fresh(), label_map=wrong)


def test_a_label_map_beyond_the_networks_classes(make_data):
    with pytest.raises(
        UsageError, match="label_map= names column 3, but the teacher's network has 3 classes"
    ):
        Teacher(fresh(), label_map=[0, 3])(first(make_data().train))


def test_other_classes_than_the_students_are_said(make_data, folder):
    for kind in (Teacher, CachedTeacher):
        with pytest.raises(UsageError, match=r"\(16, 3\).*\(16, 10\).*label_map"):
            fit(fresh(), make_data(), ResponseKD(kind(fresh(1, classes=10))), **OPTIONS)


def test_a_normalisation_of_its_own(make_data):
    """What the teacher sees must be the images as they would be if its own data's mean and std had
    been used.
    """
    data, network = make_data(), fresh(1)
    mean, std = np.array([10.0, 20.0, 30.0], np.float32), np.array([50.0, 60.0, 70.0], np.float32)
    teacher = Teacher(
        network, normalisation=(mean, std), student_normalisation=(data.mean, data.std)
    )
    batch, as_taught = first(data.train), first(replace(data.train, mean=mean, std=std))
    torch.testing.assert_close(teacher(batch), Teacher(network)(as_taught), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(teacher(batch), Teacher(network)(batch), atol=1e-2)
    assert not teacher.state_dict()


def test_normalisations_that_cannot_be():
    for wrong, names in [
        (dict(normalisation=([0], [1])), "Give both or neither"),
        (dict(student_normalisation=([0], [1])), "Give both or neither"),
        (
            dict(normalisation=([0, 0], [1]), student_normalisation=([0], [1])),
            "^normalisation= must be",
        ),
        (
            dict(normalisation=([0], [1]), student_normalisation=([0], [0])),
            "^student_normalisation= must be",
        ),
        (
            dict(normalisation=([0], [float("nan")]), student_normalisation=([0], [1])),
            "finite number",
        ),
        (dict(normalisation=0.5, student_normalisation=([0], [1])), "^normalisation= must be"),
        (
            dict(normalisation=([0] * 3, [1] * 3), student_normalisation=([0] * 2, [1] * 2)),
            "2 and 3 channels",
        ),
    ]:
        with pytest.raises(UsageError, match=names):
            Teacher(fresh(), **wrong)


def test_a_normalisation_for_other_channels(make_data):
    wide = ([0.0] * 13, [1.0] * 13)
    with pytest.raises(UsageError, match="has 13 channels, the images have 3"):
        Teacher(fresh(), normalisation=wide, student_normalisation=wide)(first(make_data().train))


def test_a_students_normalisation_that_is_not_the_batches(make_data):
    data = make_data()
    told = Teacher(
        fresh(1),
        normalisation=(data.mean, data.std),
        student_normalisation=(data.mean / 255, data.std),
    )
    with pytest.raises(UsageError, match="student_normalisation= says"):
        fit(fresh(), data, ResponseKD(told), **OPTIONS)


def test_the_fingerprint_is_of_weights_architecture_and_settings():
    def pair(value):
        return dict(normalisation=([value], [1]), student_normalisation=([0], [1]))

    other = fresh(1)
    with torch.no_grad():
        other[0].bias[0] += 1e-6
    relu = nn.Sequential(
        *[nn.ELU() if isinstance(m, nn.ReLU) else m for m in fresh(1)]
    )  # the same weights
    teachers = [
        Teacher(fresh(1)),
        Teacher(other),
        Teacher(relu),
        Teacher(fresh(1), label_map=[0, 1, 2]),
    ]
    teachers += [Teacher(fresh(1), **pair(value)) for value in (1, 2)] + [CachedTeacher(fresh(1))]
    assert len({teacher.fingerprint for teacher in teachers}) == len(teachers)
    assert Teacher(fresh(1)).fingerprint == Teacher(fresh(1)).fingerprint
    assert CachedTeacher(fresh(1)).fingerprint == Teacher(fresh(1)).fingerprint + "-cached"


def test_recipes_tell_teachers_apart(make_data):
    data = make_data()
    teachers = [Teacher(fresh(1)), Teacher(fresh(2)), CachedTeacher(fresh(1))]
    keys = {
        Recipe(model=small_net, objective=partial(ResponseKD, t), epochs=1).key(data)
        for t in teachers
    }
    again = Recipe(model=small_net, objective=partial(ResponseKD, Teacher(fresh(1))), epochs=1).key(
        data
    )
    assert len(keys) == 3 and again in keys
