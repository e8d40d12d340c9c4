"""Negative results: who teaches whom, what each teacher is, and a run of all at smoke size."""

from dataclasses import replace

import pytest
import torch

from kdcourse.common.profiles import profile
from kdcourse.distillation import CachedTeacher, CrossEntropy, FitNets, ResponseKD
from kdcourse.experiments import baselines
from kdcourse.experiments.grid import Run
from kdcourse.experiments.negative import OTHER, SMOOTHED, STRONGER, TAUGHT_BY, WORSE, Negative
from kdcourse.experiments.registry import experiment_class
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.training.checkpoint import describe

SMOKE = profile("smoke")
CPU = Negative(profile("cpu"), datasets=("cifar10",), seeds=2)
TEACHERS = ("teacher", SMOOTHED, STRONGER, WORSE, OTHER)


@pytest.fixture
def data(make_data):
    return make_data(count=120, size=16)


@pytest.fixture
def networks(data):
    """A network for each teacher, told apart by their weights."""
    torch.manual_seed(0)
    return {arm: CPU.recipe(Run("cifar10", arm, 0), data, []).model().eval() for arm in TEACHERS}


def student(arm, seed=0):
    return Run("cifar10", arm, seed, (), (Run("cifar10", TAUGHT_BY[arm], 0),))


# --- the design -----------------------------------------------------------------------------------


def test_it_is_known_by_its_name():
    assert experiment_class("negative") is Negative


def test_each_method_has_its_teacher():
    runs = CPU.runs()
    assert tuple(run.arm for run in runs if not run.needs) == TEACHERS
    taught = {run.arm: run.needs[0].arm for run in runs if run.needs}
    assert taught == TAUGHT_BY and all(len(run.needs) == 1 for run in runs if run.needs)
    for arm, by in taught.items():  # the name in brackets says which
        assert by == (arm[arm.index("(") + 1 : -1] if "(" in arm else "teacher")


def test_no_teacher_is_trained_that_nobody_needs():
    runs = replace(CPU, methods=(f"hint ({OTHER})",)).runs()
    assert [run.arm for run in runs if not run.needs] == ["teacher", OTHER]
    assert [run.arm for run in replace(CPU, methods=("hint",)).runs() if not run.needs] == [
        "teacher"
    ]


def test_what_tells_each_teacher_from_the_plain_one(data):
    plain, smoothed, stronger, worse, other = (
        CPU.recipe(Run("cifar10", arm, 0), data, []) for arm in TEACHERS
    )
    assert describe(plain) == describe(baselines.teacher_recipe(data, CPU.settings, 0, 20))
    assert smoothed.objective().label_smoothing == 0.1 and plain.objective().label_smoothing == 0
    assert describe(replace(smoothed, objective=CrossEntropy)) == describe(plain)
    assert (plain.epochs, stronger.epochs, worse.epochs, other.epochs) == (20, 40, 2, 40)
    assert describe(replace(worse, epochs=20)) == describe(plain)
    assert (
        stronger.model.keywords == plain.model.keywords | {"width": 32}
        and plain.model.keywords["width"] == 16
    )
    assert describe(replace(stronger, epochs=20, model=plain.model)) == describe(plain)
    assert type(other.model()).__name__ == "MobileNetV2" and other.model()(
        torch.zeros(2, 3, 16, 16)
    ).shape == (2, 3)


def test_a_worse_teacher_is_trained_at_all(data):
    smoke = replace(CPU, settings=SMOKE)
    assert smoke.recipe(Run("cifar10", WORSE, 0), data, []).epochs == 1


def test_what_each_student_learns_from(data, networks):
    for arm in TAUGHT_BY:
        network = networks[TAUGHT_BY[arm]]
        recipe = CPU.recipe(student(arm, 1), data, [network])
        plain = CPU.recipe(student("labels", 1), data, [networks["teacher"]])
        assert describe(replace(recipe, objective=CrossEntropy)) == describe(plain)
        assert (recipe.seed, recipe.epochs, recipe.views) == (1, 30, 8)
        objective = recipe.objective()
        kind = {"l": CrossEntropy, "d": ResponseKD, "h": FitNets}[arm[0]]
        assert type(objective) is kind
        if kind is CrossEntropy:
            assert objective.label_smoothing == (0.1 if arm == "label smoothing" else 0)
        else:
            assert (
                isinstance(objective.teacher, CachedTeacher)
                and objective.teacher.network is network
            )
        if kind is FitNets:
            assert objective.student_layers == ("layer3",) and objective.weights == {
                "hint": 1.0,
                "label": 1.0,
            }
            assert objective.teacher_layers == (("features.13",) if OTHER in arm else ("layer3",))


# --- run ------------------------------------------------------------------------------------------


def test_a_part_of_the_methods_runs(data, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Negative, "load", lambda self, name: self.fewer(data))
    part = Negative(SMOKE, datasets=("cifar10",), seeds=1, methods=("hint", "label smoothing"))
    progress = reproduce(part, tmp_path, in_process, echo=str)
    assert (progress.done, progress.failed) == (4, 0)
    frame = Results(tmp_path).frame().set_index("arm")
    assert set(frame.index) == {"teacher", "labels", "hint", "label smoothing"}
    assert frame.agreement.drop("teacher").between(0, 100).all()


@pytest.mark.slow
def test_all_run(data, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Negative, "load", lambda self, name: self.fewer(data))
    progress = reproduce(
        Negative(SMOKE, datasets=("cifar10",), seeds=1), tmp_path, in_process, echo=str
    )
    assert (progress.done, progress.failed) == (13, 0)
    frame = Results(tmp_path).frame().set_index("arm")
    assert set(frame.index) == {*TEACHERS, *TAUGHT_BY}
    students = frame.loc[list(TAUGHT_BY)]
    assert students.parameters.nunique() == 1 and students.agreement.between(0, 100).all()
    assert frame.parameters["teacher"] == frame.parameters[WORSE] < frame.parameters[STRONGER]
