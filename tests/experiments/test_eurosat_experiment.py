"""D1's factorial: its cells, what is trained in each, and a run of all of them at smoke size."""

from dataclasses import replace
from functools import partial
from itertools import product

import pandas as pd
import pytest
import torch
from torch import nn

from kdcourse.common.profiles import profile
from kdcourse.distillation import CachedTeacher, CrossEntropy, ResponseKD
from kdcourse.experiments import baselines
from kdcourse.experiments.eurosat import CELLS, D1, UNAUGMENTED
from kdcourse.experiments.grid import Run
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.models import d1_student, d1_teacher, resnet18
from kdcourse.training.checkpoint import describe

SMOKE = profile("smoke")
THIN = D1(SMOKE, datasets=("eurosat_ms",), seeds=2)
PUBLISHED = replace(THIN, networks="published")
TEACHER = Run("eurosat_ms", "teacher", 0)


def student(arm, seed=0):
    return Run("eurosat_ms", arm, seed, (), (TEACHER,))


@pytest.fixture
def data(make_data):
    return make_data(count=120, channels=13, size=16)


@pytest.fixture
def network(data):
    torch.manual_seed(0)
    return baselines.teacher_recipe(data, SMOKE).model()


# --- the design -----------------------------------------------------------------------------------


def test_the_cells_are_the_whole_factorial_and_are_named_for_what_they_are():
    assert sorted(CELLS.values()) == sorted(
        product((False, True), (False, True), ("coarse", "fine"))
    )
    for arm, (augmentation, distillation, stem) in CELLS.items():
        assert ("augmentation" in arm) == augmentation and arm.startswith(
            "distilled"
        ) == distillation
        assert ("coarse" in arm) == (stem == "coarse")
    assert D1.METHODS == tuple(CELLS) and CELLS[D1.REFERENCE] == (False, False, "fine")


def test_published_figures_stand_beside_the_arms_that_they_are_of():
    arms = {run.arm for run in THIN.runs()}
    assert {data for data, _ in D1.PUBLISHED.index} == {"eurosat_ms"} <= set(D1.DATASETS)
    assert {arm for _, arm in D1.PUBLISHED.index} <= arms
    assert D1.PUBLISHED.published.xs("eurosat_ms").to_dict() == {
        "teacher": 93.09, UNAUGMENTED: 85.0, "labels": 89.57, "distilled + augmentation": 96.65,
    }  # fmt: skip


def test_every_cell_has_every_seed_and_the_same_teacher():
    runs = THIN.runs()
    assert [run for run in runs if run.arm not in CELLS] == [
        TEACHER,
        Run("eurosat_ms", UNAUGMENTED, 0),
    ]
    assert {(run.arm, run.seed, run.needs) for run in runs if run.arm in CELLS} == {
        (arm, seed, (TEACHER,)) for arm in CELLS for seed in (0, 1)
    }


def test_a_cell_is_trained_as_its_factors_say(data, network):
    for arm in CELLS:
        augmentation, distillation, stem = CELLS[arm]
        recipe = THIN.recipe(student(arm, seed=1), data, [network])
        assert recipe.augment == ("default" if augmentation else None)
        assert recipe.model().conv1.stride == ((1, 1) if stem == "fine" else (4, 4))
        objective = recipe.objective()
        assert type(objective) is (ResponseKD if distillation else CrossEntropy)
        if distillation:
            assert (
                isinstance(objective.teacher, CachedTeacher)
                and objective.teacher.network is network
            )
            assert (objective.temperature, objective.soft_weight, objective.label_weight) == (
                4,
                0.9,
                0.1,
            )


def test_cells_differ_in_their_factors_alone(data, network):
    def rest(arm):
        recipe = THIN.recipe(student(arm, seed=1), data, [network])
        model = partial(recipe.model, stem_stride=1)
        return describe(replace(recipe, augment=None, objective=CrossEntropy, model=model))

    assert all(rest(arm) == rest("labels") for arm in CELLS)
    recipe = THIN.recipe(student("labels", seed=1), data, [network])
    assert (recipe.seed, recipe.epochs, recipe.views) == (1, 1, 2)


def test_the_other_teacher_lacks_augmentation_alone(data):
    with_it = THIN.recipe(TEACHER, data, [])
    without = THIN.recipe(Run("eurosat_ms", UNAUGMENTED, 0), data, [])
    assert (with_it.augment, without.augment) == ("default", None)
    assert describe(replace(without, augment="default")) == describe(with_it)


def test_published_networks_are_d1s_own(data):
    network = nn.Identity()
    for run, make in (
        (TEACHER, d1_teacher),
        (Run("eurosat_ms", UNAUGMENTED, 0), d1_teacher),
        *(
            (student(arm), d1_student if stem == "fine" else resnet18)
            for arm, (_, _, stem) in CELLS.items()
        ),
    ):
        recipe = PUBLISHED.recipe(run, data, [network])
        assert describe(recipe.model) == describe(partial(make, channels=13, classes=3))
        assert recipe.optimizer.keywords["lr"] == 1e-3
        assert (recipe.augment is None) == (
            "augmentation" not in run.arm and run != TEACHER or run.arm == UNAUGMENTED
        )
    assert PUBLISHED.differences()[0] != THIN.differences()[0]


# --- run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """A maker's memory: one run serves several tests."""
    return {}


@pytest.fixture
def frame(data, made, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(D1, "load", lambda self, name: self.fewer(data))
    if "frame" not in made:
        experiment = replace(THIN, limit=60, seeds=1)
        progress = reproduce(experiment, tmp_path, in_process, echo=str)
        assert (progress.done, progress.failed) == (10, 0)
        made["frame"] = Results(tmp_path).frame()
    return made["frame"]


def test_all_cells_run(frame):
    assert (
        set(frame.arm) == {"teacher", UNAUGMENTED, *CELLS} and frame.accuracy.between(0, 100).all()
    )
    students = frame[frame.arm.isin(CELLS)]
    assert sorted(students.arm) == sorted(CELLS) and (students.seed == 0).all()
    assert (
        students.agreement.between(0, 100).all()
        and frame[~frame.arm.isin(CELLS)].agreement.isna().all()
    )
    fine = students.arm.map(lambda arm: CELLS[arm][2] == "fine")
    assert students[fine].macs.nunique() == students[~fine].macs.nunique() == 1
    assert (
        students[fine].macs.min() > students[~fine].macs.max()
    )  # the resolution that D1's stem keeps costs


def test_effects_are_told_for_whole_designs_alone(frame):
    (analysis,) = THIN.analyses(frame)
    assert "eurosat_ms" in analysis.title and analysis.alt
    assert list(THIN.analyses(frame[frame.arm != "distilled"])) == []
    second = frame.assign(seed=1).query("arm != 'distilled'")  # a cell of seed 1 is missing
    assert list(THIN.analyses(pd.concat([frame, second]))) == []
