"""Distillation with few labels: who learns from what, and how much of the way to all labels is
closed.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.profiles import profile
from kdcourse.distillation import CachedTeacher, CrossEntropy, PartlyLabelled, ResponseKD
from kdcourse.experiments import unlabelled
from kdcourse.experiments.grid import Run
from kdcourse.experiments.registry import experiment_class
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.experiments.unlabelled import (
    ALL_IMAGES,
    Unlabelled,
    labelled,
    labelled_indices,
    replaced,
)

SMOKE = profile("smoke")
CPU = Unlabelled(profile("cpu"), datasets=("scenes",), seeds=1)


@pytest.fixture
def data(make_data):
    return make_data(count=150, size=16)


def run(arm, share, teacher="own"):
    if arm in ("teacher", "labels"):
        return Run("scenes", arm, 0, (("share", share),))
    needed = Run("scenes", "teacher", 0, (("share", share if teacher == "own" else 1.0),))
    return Run("scenes", arm, 0, (("share", share), ("teacher", teacher)), (needed,))


def test_it_is_known_by_its_name():
    assert experiment_class("unlabelled") is Unlabelled


def test_each_student_has_the_teacher_that_it_names():
    runs = CPU.runs()
    assert len(runs) == len(set(runs)) == 3 + 3 + 1 + 2 * 2 * 2
    for each in runs:
        if each.needs:
            (teacher,) = each.needs
            assert teacher in runs and teacher["share"] == (
                each["share"] if each["teacher"] == "own" else 1.0
            )
    assert not [each for each in runs if each.arm == ALL_IMAGES and each["share"] == 1]


def test_a_smaller_share_is_part_of_a_larger_and_has_every_class(data):
    tenth, third = (set(labelled_indices(data, share)) for share in (0.1, 0.3))
    assert tenth < third and len(tenth) == 9 and len(third) == 27
    part = labelled(data, 0.01)
    assert sorted(part.train.labels) == [0, 1, 2]
    np.testing.assert_array_equal(part.mean, data.mean)
    assert (
        part.fingerprint != data.fingerprint
        and part.test is data.test
        and labelled(data, 1) is data
    )


def test_what_each_run_learns_from(data):
    torch.manual_seed(0)
    network = CPU.recipe(run("teacher", 1.0), data, []).model().eval()
    teacher, plain = (
        CPU.recipe(run("teacher", 0.1), data, []),
        CPU.recipe(run("labels", 0.1), data, []),
    )
    assert teacher.epochs == 200 and plain.epochs == 300 and plain.objective is CrossEntropy
    assert (
        len(CPU.part(run("labels", 0.1), data).train)
        == len(CPU.part(run("teacher", 0.1), data).train)
        == 9
    )
    assert len(CPU.part(run("distilled", 0.1, "all"), data).train) == 9
    distilled = CPU.recipe(run("distilled", 0.1), data, [network])
    assert distilled.epochs == 300 and type(distilled.objective()) is ResponseKD
    every = CPU.recipe(run(ALL_IMAGES, 0.1), data, [network])
    assert every.epochs == 30 and CPU.part(run(ALL_IMAGES, 0.1), data) is data
    objective = every.objective()
    assert type(objective) is PartlyLabelled and isinstance(objective.teacher, CachedTeacher)
    assert objective.labelled.tolist() == labelled_indices(data, 0.1).tolist()


def test_all_run(data, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Unlabelled, "load", lambda self, name: self.fewer(data))
    monkeypatch.setattr(unlabelled, "SHARES", (0.3, 1.0))
    progress = reproduce(
        Unlabelled(SMOKE, datasets=("scenes",), seeds=1), tmp_path, in_process, echo=str
    )
    assert (progress.done, progress.failed) == (2 + 2 + 1 + 4, 0)
    found = replaced(Results(tmp_path).frame())
    assert set(zip(found.arm, found.share, found.teacher, strict=True)) == {
        ("distilled", 1.0, "own"), ("distilled", 0.3, "own"), ("distilled", 0.3, "all"),
        (ALL_IMAGES, 0.3, "own"), (ALL_IMAGES, 0.3, "all"),
    }  # fmt: skip


def test_closed_is_the_share_of_the_way_to_all_labels():
    rows = [
        ("labels", 0.1, None, 60.0),
        ("labels", 1.0, None, 80.0),
        ("distilled", 0.1, "own", 65.0),
    ]
    rows += [("distilled", 1.0, "own", 82.0)]
    frame = pd.DataFrame(rows, columns=["arm", "share", "teacher", "accuracy"]).assign(
        data="scenes"
    )
    frame = pd.concat([frame.assign(seed=seed, accuracy=frame.accuracy + seed) for seed in (0, 1)])
    found = replaced(frame).set_index("share")
    assert (found.gain[0.1], found.closed[0.1], found.seeds[0.1]) == (5, pytest.approx(25), 2)
    assert found.gain[1.0] == 2 and np.isnan(found.closed[1.0])
    assert len(list(Unlabelled(SMOKE).analyses(frame))) == 1
    assert (
        list(Unlabelled(SMOKE).analyses(frame[frame.arm == "labels"].drop(columns="teacher"))) == []
    )
