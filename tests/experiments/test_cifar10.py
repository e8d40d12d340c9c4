import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.distillation import CachedTeacher, Teacher
from kdcourse.experiments import baselines, cifar10, grid
from kdcourse.experiments.complexity import Pair
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.models import thin_resnet
from kdcourse.training import load_or_train

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=120, size=16)


@pytest.fixture
def teacher(data):
    torch.manual_seed(0)
    return Teacher(baselines.teacher_recipe(data, SETTINGS).model())


def test_each_step_mends_one_fault_more(teacher):
    steps = cifar10.steps(teacher, epochs=3)
    assert [step.name for step in steps] == [
        "as published", "+ T²", "+ no flips at test time", "+ equal epochs", "+ no pretraining",
    ]  # fmt: skip
    fields = ("distilled_epochs", "plain_epochs", "pretrained", "flipped")
    assert [tuple(getattr(step, name) for name in fields) for step in steps] == [
        (6, 3, True, True),
        (6, 3, True, True),
        (6, 3, True, False),
        (6, 6, True, False),
        (6, 6, False, False),
    ]
    published, mended = steps[0].distilled(), steps[1].distilled()
    assert all(step.distilled is steps[1].distilled for step in steps[1:])
    assert mended.soft_weight / published.soft_weight == pytest.approx(25)  # T² at T = 5
    for objective in (published, mended):
        assert (objective.temperature, objective.label_weight) == (5, 0.25)


def test_halves_share_no_image_and_have_the_same_classes(data):
    first, second = cifar10.halves(data)
    assert not set(first.train.rows) & set(second.train.rows)
    assert sorted([*first.train.rows, *second.train.rows]) == data.train.rows.tolist()
    assert np.bincount(first.train.labels).tolist() == np.bincount(second.train.labels).tolist()
    assert (
        first.test is data.test
        and len({first.fingerprint, second.fingerprint, data.fingerprint}) == 3
    )


def test_flips_mirror_some_images_and_leave_the_data_alone(data):
    before = data.test.take(range(len(data.test)))
    after = cifar10.flipped(data.test, seed=1)
    mirrored = [np.array_equal(a, b[..., ::-1]) for a, b in zip(after.images, before, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(after.images, before, strict=True)]
    assert 0 < sum(mirrored) < len(before) and all(np.logical_xor(mirrored, same))
    assert np.array_equal(after.labels, data.test.labels) and after.fingerprint == ""
    assert np.array_equal(before, data.test.take(range(len(data.test))))
    assert np.array_equal(after.images, cifar10.flipped(data.test, seed=1).images)


@pytest.mark.slow  # the grid below does each step with one seed
def test_run_gives_every_step_with_every_seed(data, teacher):
    runs = cifar10.run(data, SETTINGS, teacher, epochs=1, seeds=(0, 1), views=2)
    assert len(runs) == 5 * 2 and runs[["plain", "distilled"]].stack().between(0, 100).all()
    by_step = runs.set_index(["step", "seed"])
    published, square, upright = (
        by_step.loc[name] for name in ("as published", "+ T²", "+ no flips at test time")
    )
    assert (
        published["plain"] == square["plain"]
    ).all()  # the same network on the same flipped images
    pd.testing.assert_frame_equal(
        runs, cifar10.run(data, SETTINGS, teacher, epochs=1, seeds=(0, 1), views=2)
    )


def test_summary_pairs_the_seeds():
    rows = [
        ("a", 0, 50.0, 52.0, 1, 2),
        ("a", 1, 60.0, 64.0, 1, 2),
        ("b", 0, 50.0, 49.0, 2, 2),
        ("b", 1, 60.0, 59.0, 2, 2),
    ]
    table = cifar10.summary(
        pd.DataFrame(
            rows, columns=["step", "seed", "plain", "distilled", "plain epochs", "distilled epochs"]
        )
    ).set_index("step")
    assert table.index.tolist() == ["a", "b"] and table.seeds.tolist() == [2, 2]
    assert table["gain, points"].tolist() == [3.0, -1.0]
    assert table["± 95 % paired"].tolist() == pytest.approx([12.706, 0.0], abs=1e-3)


def test_the_published_table_is_that_of_the_repository():
    assert cifar10.PUBLISHED.loc["overall"].tolist() == [95.4, 94.2, 94.1]
    assert (
        cifar10.PUBLISHED.loc["dog"].tolist() == [91.9, 89.9, 92.1] and len(cifar10.PUBLISHED) == 11
    )


def test_the_symptom_is_decided_by_the_whole_interval():
    for gain, half, words in [
        (0.1, 0.5, "symptom shows: the gain is next to nothing, from -0.40 to +0.60 points"),
        (-0.4, 0.2, "symptom shows"),
        (
            3.0,
            1.5,
            "symptom does not show: the gain or loss is more than a point, from +1.50 to +4.50 "
            "points",
        ),
        (-3.0, 1.5, "symptom does not show"),
        (
            0.33,
            1.88,
            "is not decided: from -1.55 to +2.21 points",
        ),  # includes zero, and gains that are worth having
        (1.2, 1.1, "is not decided"),  # a gain for certain, but perhaps a small one
        (0.1, np.nan, "is not decided: +0.10 points with one seed"),
    ]:
        assert words in cifar10.symptom(gain, half)


# --- as a grid ------------------------------------------------------------------------------------


@pytest.fixture
def experiment(data, monkeypatch):
    monkeypatch.setattr(grid, "load_data", lambda name, **options: data)
    return cifar10.D2(SETTINGS, datasets=("toy",), seeds=2)


def done(experiment, folder, engine):
    progress = reproduce(experiment, folder, engine, echo=lambda line: None)
    assert progress.failed == 0
    return Results(folder).frame()


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_grid_trains_each_network_once_and_finds_what_run_finds(
    experiment, data, in_process, tmp_path, monkeypatch, seeds
):
    experiment = replace(experiment, seeds=seeds)
    frame = done(experiment, tmp_path / "grid", in_process)
    names = [run.arm for run in in_process.submitted]
    assert names == [
        "teacher",
        *["start"] * seeds,
        *(arm for arm in cifar10.D2.METHODS for _ in range(seeds)),
    ]
    assert len(cifar10.D2.METHODS) == 6  # of the ten networks that five steps compare
    assert frame.groupby("arm")["training images"].first().to_dict() == {
        "teacher": 72, **dict.fromkeys(("start", *cifar10.D2.METHODS), 36),
    }  # fmt: skip

    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))  # all of it is trained once more
    budget = experiment.budget
    network, _ = load_or_train(
        baselines.teacher_recipe(data, SETTINGS, 0, budget.teacher_epochs), data, progress=False
    )
    runs = cifar10.run(
        data,
        SETTINGS,
        CachedTeacher(network),
        epochs=budget.student_epochs,
        seeds=range(seeds),
        views=budget.views,
    )
    order = ["step", "seed"]
    found = cifar10.by_step(frame, budget.student_epochs)
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), runs.sort_values(order, ignore_index=True)
    )
    (analysis,) = experiment.analyses(frame)
    pd.testing.assert_frame_equal(analysis.table, cifar10.summary(runs).round(2))
    assert "symptom" in analysis.text and "+ T²" in analysis.figure.alt


def test_a_network_that_steps_share_is_the_same_in_all_of_them(experiment, data, teacher):
    scratch = baselines.student_recipe(data, SETTINGS, 0, 2)
    start = scratch.model()
    keys = {}
    for step in cifar10.steps(teacher, 1):
        recipes = step.recipes(scratch, replace(scratch, model=partial(copy.deepcopy, start)))
        for arm, recipe in zip(cifar10.COMPARED[step.name], recipes, strict=True):
            keys.setdefault(arm, set()).add(recipe.key(data))
    assert (
        all(len(own) == 1 for own in keys.values())
        and len(set.union(*keys.values())) == len(keys) == 6
    )


def test_who_needs_a_start(experiment):
    for run in experiment.runs():
        needs = [need.arm for need in run.needs]
        if run.arm in ("teacher", "start"):
            assert needs == []
        else:
            assert needs == (
                ["teacher"] if run.arm.endswith("from scratch") else ["teacher", "start"]
            )
            assert all(need.seed == run.seed for need in run.needs[1:])


def test_steps_of_a_grid_that_is_not_done():
    columns = ["arm", "seed", "accuracy", "accuracy flipped"]
    rows = [("plain", 0, 50.0, 40.0), ("distilled", 0, 53.0, 44.0), ("distilled", 1, 60.0, 61.0)]
    found = cifar10.by_step(pd.DataFrame(rows, columns=columns), epochs=3)
    assert found.values.tolist() == [
        ["+ T²", 0, 40.0, 44.0, 3, 6],
        ["+ no flips at test time", 0, 50.0, 53.0, 3, 6],
    ]
    teachers = pd.DataFrame([("toy", "teacher", 0, 50.0, 40.0)], columns=["data", *columns])
    assert list(cifar10.D2(SETTINGS).analyses(teachers)) == []


def small(channels, classes, pretrained=False):
    """In the place of the ResNets."""
    network = thin_resnet(8, 4, channels=channels, classes=classes)
    if pretrained:
        torch.nn.init.ones_(network.fc.bias)
    return network


def test_d2s_own_networks_come_pretrained_and_train_as_d2s(data, monkeypatch):
    makers = (
        partial(cifar10.own_recipe, network) for network in (partial(small, pretrained=True), small)
    )
    monkeypatch.setattr(cifar10, "OWN", Pair(*makers))
    own = cifar10.D2(profile("gpu"), networks="published", seeds=1)
    runs = {run.arm: run for run in own.runs()}
    assert list(runs) == ["teacher", *cifar10.D2.METHODS] and all(
        len(run.needs) <= 1 for run in runs.values()
    )
    assert all(own.part(run, data) is data for run in runs.values())
    teacher = own.recipe(runs["teacher"], data, ()).model()
    recipes = {arm: own.recipe(run, data, [teacher]) for arm, run in runs.items()}
    epochs = {arm: recipe.epochs for arm, recipe in recipes.items()}
    assert (epochs["teacher"], epochs["plain"], epochs["distilled without T²"]) == (5, 5, 10)
    for arm, recipe in recipes.items():
        assert (recipe.model().fc.bias == 1).all() == (not arm.endswith("from scratch")), arm
        assert (recipe.batch_size, recipe.augment.symmetries, recipe.augment.pad) == (
            100,
            "flip",
            0,
        )
        optimiser = recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
        assert type(optimiser) is torch.optim.SGD
        assert (optimiser.defaults["lr"], optimiser.defaults["momentum"]) == (1e-3, 0.9)


@pytest.mark.parametrize(
    ("networks", "sizes"), [("thin", [16, 32, None]), ("published", [64, 64, 224])]
)
def test_the_size_of_images_and_what_is_said_of_it(networks, sizes, data, monkeypatch):
    asked = []
    monkeypatch.setattr(grid, "load_data", lambda name, **options: asked.append(options) or data)
    texts = []
    for name in ("smoke", "cpu", "gpu"):
        own = cifar10.D2(profile(name), networks=networks)
        own.load("cifar10")
        texts.append(" ".join(own.differences()))
    assert [options["image_size"] for options in asked] == sizes and asked[0]["split_seed"] == 1
    assert ["not 224×224" in text for text in texts] == [size != 224 for size in sizes]
    assert ["thin pair" in text for text in texts] == [networks == "thin"] * 3


def test_published_figures_stand_at_the_arms_as_published():
    published = cifar10.D2.PUBLISHED.published
    assert published.to_dict() == {
        ("cifar10", "teacher"): 95.4,
        ("cifar10", "plain"): 94.1,
        ("cifar10", "distilled without T²"): 94.2,
    }


def test_an_unknown_method_is_said():
    with pytest.raises(UsageError, match="unknown method of d2 'distiled'. Did you mean distilled"):
        cifar10.D2(SETTINGS, methods=("distiled",))
