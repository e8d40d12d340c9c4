"""D3 as a grid, at the size of a smoke run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.curriculum import Root, mixed
from kdcourse.distillation import CachedTeacher, CrossEntropy, Teacher
from kdcourse.experiments import baselines, curriculum, curriculum_grid, grid
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.models import mobilenet_v2, resnet152
from kdcourse.training import load_or_train

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=100, size=16)  # 60 train


@pytest.fixture
def teacher(data):
    torch.manual_seed(0)
    return Teacher(baselines.teacher_recipe(data, SETTINGS).model())


@pytest.fixture
def experiment(data, monkeypatch):
    monkeypatch.setattr(grid, "load_data", lambda name, **options: data)
    return curriculum_grid.D3(SETTINGS, datasets=("toy",), seeds=2)


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_grid_finds_what_run_finds(experiment, data, in_process, tmp_path, monkeypatch, seeds):
    experiment = replace(experiment, seeds=seeds)
    assert reproduce(experiment, tmp_path / "grid", in_process, echo=lambda line: None).failed == 0
    arms = [run.arm for run in in_process.submitted]
    assert arms == ["teacher", *(arm for arm in curriculum_grid.D3.METHODS for _ in range(seeds))]
    frame = Results(tmp_path / "grid").frame()

    monkeypatch.setenv(
        "KDCOURSE_WORK", str(tmp_path / "work")
    )  # so that everything is trained again
    budget = experiment.budget
    network, _ = load_or_train(
        baselines.teacher_recipe(data, SETTINGS, 0, budget.teacher_epochs), data, progress=False
    )
    teacher = CachedTeacher(network)
    options = dict(epochs=budget.student_epochs, seeds=range(seeds), views=budget.views)
    own = curriculum.run(
        curriculum.five_arms(teacher), data, SETTINGS, teacher, equal=False, **options
    )
    equal = curriculum.run(curriculum.equal_arms(teacher), data, SETTINGS, teacher, **options)
    for names, runs in ((curriculum_grid.OWN, own), (curriculum_grid.EQUAL, equal)):
        rows = pd.concat([frame[frame.arm == name] for name in names])
        assert (
            rows.seed.tolist() == runs.seed.tolist()
            and rows.accuracy.tolist() == runs.accuracy.tolist()
        )
        assert rows["samples seen"].tolist() == runs["samples seen"].tolist()

    at_equal, table = experiment.analyses(frame)
    assert at_equal.table.arm.tolist() == list(
        curriculum_grid.EQUAL
    ) and table.table.arm.tolist() == list(curriculum_grid.OWN)
    by_arm = frame.set_index(["arm", "seed"]).accuracy
    gain = at_equal.table.set_index("arm")["gain over random subset, points"]
    expected = (by_arm["easy to hard"] - by_arm["random subset"]).mean()
    assert gain["easy to hard"] == pytest.approx(expected, abs=0.01)
    assert table.table.iloc[:, 4].notna().tolist() == [
        True,
        True,
        False,
        False,
    ]  # the reference; and too few samples
    number = (by_arm["D3: teacher only"] - by_arm["plain KD"]).mean()
    assert f"D3: teacher only − plain KD: {number:+.1f}" in table.figure.alt


def test_the_names_belong_to_the_arms(teacher):
    arms = curriculum_grid.named_arms(teacher)
    assert tuple(arms) == curriculum_grid.D3.METHODS and not any(
        "," in name for name in arms
    )  # --methods A,B
    plain = [*curriculum.five_arms(teacher), *curriculum.equal_arms(teacher)]
    for (name, arm), own in zip(arms.items(), plain, strict=True):
        assert arm.name == name and replace(arm, name=own.name, objective=own.objective) == own
        assert name in (own.name, f"D3: {own.name}") or "," in own.name
    assert arms["easiest by root"].schedule == Root(2) and arms["D3: curriculum"].strategy is mixed
    assert (
        arms["easiest then all"].schedule(0.4) == 0 and arms["easiest then all"].schedule(0.5) == 1
    )


def test_analyses_of_a_grid_that_is_not_done():
    columns = ["data", "arm", "seed", "samples seen", "accuracy"]
    rows = [
        ("toy", "teacher", 0, np.nan, 90.0),
        ("toy", "plain KD", 0, 6, 50.0),
        ("toy", "easy to hard", 0, 6, 51.0),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    assert list(curriculum_grid.D3(SETTINGS).analyses(frame)) == []
    frame.loc[3] = ("toy", "D3: teacher only", 0, 10, 52.0)
    (analysis,) = curriculum_grid.D3(SETTINGS).analyses(frame)
    assert (
        analysis.table.arm.tolist() == ["D3: teacher only"]
        and "plain KD: +2.0" in analysis.figure.alt
    )


def test_whose_networks_and_data(data, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        grid, "load_data", lambda name, **options: asked.setdefault(name, options) and data
    )
    own = curriculum_grid.D3(profile("gpu"), networks="published")
    assert {run.data for run in own.runs()} == {"mini_imagenet"}
    assert {run.data for run in curriculum_grid.D3(SETTINGS).runs()} == {"scenes", "eurosat_rgb"}
    assert {
        run.data for run in curriculum_grid.D3(profile("gpu"), datasets=("digits",)).runs()
    } == {"digits"}
    own.load("mini_imagenet")
    curriculum_grid.D3(profile("cpu"), networks="published").load("tiny_imagenet")
    curriculum_grid.D3(profile("cpu")).load("scenes")
    assert {name: options["image_size"] for name, options in asked.items()} == {
        "mini_imagenet": 224, "tiny_imagenet": 64, "scenes": 32,
    }  # fmt: skip
    teacher, *students = own.runs()
    made = own.recipe(teacher, data, ())
    assert (made.model.func, made.epochs, made.keep) == (resnet152, 60, "best")
    network = baselines.teacher_recipe(data, SETTINGS).model()
    recipe = own.recipe(students[0], data, [network])
    assert (recipe.model.func, recipe.objective, recipe.batch_size) == (
        mobilenet_v2,
        CrossEntropy,
        128,
    )


@pytest.mark.parametrize(("networks", "name"), [("thin", "cpu"), ("published", "gpu")])
def test_what_differs_is_said(networks, name):
    text = " ".join(curriculum_grid.D3(profile(name), networks=networks).differences())
    assert ("thin pair" in text) == ("5,000 training images" in text) == (networks == "thin")
    assert ("not 224×224" in text) == (name == "cpu") and "every 4 epochs" in text


def test_published_figures_stand_at_d3s_arms():
    published = curriculum_grid.D3.PUBLISHED.published["mini_imagenet"]
    assert published.tolist() == curriculum.PUBLISHED["test accuracy, %"].tolist()
    assert published["D3: curriculum"] == 85.06 and published["teacher"] == 95.04


def test_an_unknown_method_is_said():
    with pytest.raises(UsageError, match="unknown method of d3 'plan KD'. Did you mean plain KD"):
        curriculum_grid.D3(SETTINGS, methods=("plan KD",))
