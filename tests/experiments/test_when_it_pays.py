"""When distillation pays: the surface of conditions, its pairs, and a run of a part of it at smoke
size.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdcourse.common.profiles import profile
from kdcourse.data.batches import Batches
from kdcourse.distillation import CachedTeacher, CrossEntropy, ResponseKD
from kdcourse.experiments import baselines, when_it_pays
from kdcourse.experiments.grid import Run
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.experiments.when_it_pays import LONG, SHARES, SHORT, TEACHING, Pays, Samples
from kdcourse.training.checkpoint import describe

SMOKE, CPU = profile("smoke"), profile("cpu")
ONE = Pays(CPU, datasets=("cifar10",), seeds=2)
CONDITIONS = [("short", "narrow"), ("long", "narrow"), ("short", "wide")]


def teacher(share):
    return Run("cifar10", "teacher", 0, (("share", share),))


def labels(share, budget, student, seed=0):
    return Run(
        "cifar10", "labels", seed, (("share", share), ("budget", budget), ("student", student))
    )


@pytest.fixture
def data(make_data):
    return make_data(count=300, size=16)  # 180 + 60 + 60


@pytest.fixture
def network(data):
    torch.manual_seed(0)
    return baselines.teacher_recipe(data, SMOKE).model().eval()


# --- the design -----------------------------------------------------------------------------------


def test_a_budget_is_in_samples_seen_up_to_a_number_of_epochs():
    budget = Samples(1000, epochs=50)
    assert [budget.of(images) for images in (1, 20, 25, 100, 300, 800, 5000)] == [
        50,
        50,
        40,
        10,
        3,
        1,
        1,
    ]
    for images in (1_350, 13_500, 45_000):  # where no bound holds, all shares see as much
        assert SHORT.of(images) * images == pytest.approx(100_000, rel=0.15)
        assert LONG.of(images) * images == pytest.approx(400_000, rel=0.05)
    assert (SHORT.of(135), LONG.of(135), TEACHING.of(135)) == (100, 400, 40)


def test_every_comparison_has_its_pair_and_its_teacher():
    runs = ONE.runs()
    plain, distilled = ([run for run in runs if run.arm == arm] for arm in ("labels", "distilled"))
    assert set(plain) == {
        labels(share, *condition, seed)
        for share in SHARES
        for condition in CONDITIONS
        for seed in (0, 1)
    }
    wanted = {(share, *condition, "all") for share in SHARES for condition in CONDITIONS}
    wanted |= {(share, "short", "narrow", "same") for share in SHARES if share < 1}
    assert {
        (run["share"], run["budget"], run["student"], run["teacher"]) for run in distilled
    } == wanted
    assert len(distilled) == 2 * len(wanted)
    for run in distilled:
        assert Run(run.data, "labels", run.seed, run.factors[:-1]) in plain
        assert run.needs == (teacher(1.0 if run["teacher"] == "all" else run["share"]),)
    assert [run for run in runs if run.arm == "teacher"] == [
        teacher(share) for share in sorted(SHARES)[::-1]
    ]


def test_a_pair_differs_in_what_it_learns_from_alone(data, network):
    for run in ONE.runs():
        if run.arm != "distilled":
            continue
        held = CachedTeacher(network)
        recipe = ONE.recipe(run, data, [held])
        plain = ONE.recipe(Run(run.data, "labels", run.seed, run.factors[:-1]), data, [])
        assert (
            describe(replace(recipe, objective=CrossEntropy)) == describe(plain)
            and recipe.seed == run.seed
        )
        objective = recipe.objective()
        assert type(objective) is ResponseKD and objective.teacher is held


def test_what_a_factor_changes(data):
    short, long, wide = recipes = [
        ONE.recipe(labels(1.0, *condition), data, []) for condition in CONDITIONS
    ]
    assert (short.epochs, long.epochs, wide.epochs) == (100, 400, 100)  # 180 images
    assert [recipe.model.keywords["width"] for recipe in recipes] == [8, 8, 32]
    assert (
        describe(replace(long, epochs=100))
        == describe(short)
        == describe(replace(wide, model=short.model))
    )
    assert ONE.recipe(teacher(1.0), data, []).epochs == 40
    assert {
        replace(ONE, settings=SMOKE).recipe(run, data, [None]).epochs for run in ONE.runs()
    } == {1}


def test_shares_are_nested_and_keep_the_test_images(data):
    parts = {share: ONE.part(teacher(share), data) for share in (0.1, 0.3, 1.0)}
    sizes = {
        share: (len(part.train), len(part.val), len(part.test)) for share, part in parts.items()
    }
    assert sizes == {0.1: (18, 18, 60), 0.3: (54, 54, 60), 1.0: (180, 60, 60)}
    assert set(parts[0.1].train.rows) < set(parts[0.3].train.rows) < set(parts[1.0].train.rows)
    assert parts[1.0] is data
    of_a_student = ONE.part(labels(0.1, "long", "wide", seed=1), data)
    assert of_a_student.fingerprint == parts[0.1].fingerprint  # whatever the arm and the seed


def test_in_the_smoke_profile_the_least_share_has_every_class():
    experiment = Pays(SMOKE, datasets=("digits",))
    part = experiment.part(
        Run("digits", "teacher", 0, (("share", min(SHARES)),)), experiment.load("digits")
    )
    np.testing.assert_array_equal(np.bincount(part.train.labels), np.ones(10))


def test_a_teacher_sees_images_as_it_learned_them(data, network):
    """Batches are normalised by the student's part; the teacher must answer as to images normalised
    by its own.
    """
    for teachers, students in [(1.0, 0.1), (0.1, 0.1), (0.3, 0.1)]:
        own, part = (ONE.part(teacher(share), data) for share in (teachers, students))
        held = ONE.teacher(network, teacher(teachers), part, data)
        batch = next(Batches(part.train, len(part.train)).epoch())
        raw = torch.from_numpy(part.train.take(range(len(part.train))).astype(np.float32))
        mean, std = (torch.from_numpy(values).view(1, -1, 1, 1) for values in (own.mean, own.std))
        with torch.no_grad():
            expected, as_the_student = network((raw - mean) / std), network(batch.images)
        torch.testing.assert_close(
            held.forward_with_features(batch, ["layer3"]).logits, expected, rtol=1e-4, atol=1e-4
        )
        if teachers == students:
            assert held.settings == (None, None, None)
        else:
            assert (
                as_the_student - expected
            ).abs().max() > 1e-3  # so the normalisation did something


# --- run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """A maker's memory: one run serves several tests."""
    return {}


@pytest.fixture
def frame(data, made, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Pays, "load", lambda self, name: self.fewer(data))
    monkeypatch.setattr(when_it_pays, "SHARES", (0.1, 1.0))
    if "frame" not in made:
        experiment = Pays(SMOKE, datasets=("cifar10",), seeds=1)
        progress = reproduce(experiment, tmp_path, in_process, echo=str)
        assert (progress.done, progress.failed) == (15, 0)
        made["frame"] = Results(tmp_path).frame()
    return made["frame"]


def test_a_part_of_the_surface_runs(frame):
    assert frame.groupby("arm").size().to_dict() == {"distilled": 7, "labels": 6, "teacher": 2}
    assert frame.set_index("share")["training images"].to_dict() == {0.1: 18, 1.0: 180}
    assert frame.n.eq(60).all() and frame.accuracy.between(0, 100).all()
    wide, narrow = (frame[frame.student == student].parameters for student in ("wide", "narrow"))
    assert wide.nunique() == narrow.nunique() == 1 and wide.iloc[0] > 10 * narrow.iloc[0]


def test_gains_are_of_pairs(frame):
    gains = when_it_pays.gains(frame)
    assert len(gains) == 7 and set(gains.share) == {0.1, 1.0}
    row = gains[(gains.share == 0.1) & (gains.condition == "teacher of the same images")].iloc[0]
    at = frame[(frame.share == 0.1) & (frame.budget != "long") & (frame.student != "wide")]
    distilled = at.accuracy[at.teacher == "same"].item()
    plain, accuracy = (at.accuracy[at.arm == arm].item() for arm in ("labels", "teacher"))
    assert row.gain == pytest.approx(distilled - plain) and (row.baseline, row.teacher) == (
        plain,
        accuracy,
    )
