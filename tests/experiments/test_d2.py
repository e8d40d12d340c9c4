import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.distillation import Teacher
from kdcourse.experiments import baselines, d2
from kdcourse.profiles import profile

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=120, size=16)


@pytest.fixture
def teacher(data):
    torch.manual_seed(0)
    return Teacher(baselines.teacher_recipe(data, SETTINGS).model())


def test_each_step_mends_one_fault_more(teacher):
    steps = d2.steps(teacher, epochs=3)
    assert [step.name for step in steps] == [
        "as published", "+ T²", "+ no flips at test time", "+ equal epochs", "+ no pretraining",
    ]  # fmt: skip
    fields = ("distilled_epochs", "plain_epochs", "pretrained", "flipped")
    assert [tuple(getattr(step, name) for name in fields) for step in steps] == [
        (6, 3, True, True), (6, 3, True, True), (6, 3, True, False), (6, 6, True, False), (6, 6, False, False),
    ]  # fmt: skip
    published, mended = steps[0].distilled(), steps[1].distilled()
    assert all(step.distilled is steps[1].distilled for step in steps[1:])
    assert mended.soft_weight / published.soft_weight == pytest.approx(25)  # T² at T = 5
    for objective in (published, mended):
        assert (objective.temperature, objective.label_weight) == (5, 0.25)


def test_halves_share_no_image_and_have_the_same_classes(data):
    first, second = d2.halves(data)
    assert not set(first.train.rows) & set(second.train.rows)
    assert sorted([*first.train.rows, *second.train.rows]) == data.train.rows.tolist()
    assert np.bincount(first.train.labels).tolist() == np.bincount(second.train.labels).tolist()
    assert first.test is data.test and len({first.fingerprint, second.fingerprint, data.fingerprint}) == 3


def test_flips_mirror_some_images_and_leave_the_data_alone(data):
    before = data.test.take(range(len(data.test)))
    after = d2.flipped(data.test, seed=1)
    mirrored = [np.array_equal(a, b[..., ::-1]) for a, b in zip(after.images, before, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(after.images, before, strict=True)]
    assert 0 < sum(mirrored) < len(before) and all(np.logical_xor(mirrored, same))
    assert np.array_equal(after.labels, data.test.labels) and after.fingerprint == ""
    assert np.array_equal(before, data.test.take(range(len(data.test))))
    assert np.array_equal(after.images, d2.flipped(data.test, seed=1).images)


def test_run_gives_every_step_with_every_seed(data, teacher):
    runs = d2.run(data, SETTINGS, teacher, epochs=1, seeds=(0, 1), views=2)
    assert len(runs) == 5 * 2 and runs[["plain", "distilled"]].stack().between(0, 100).all()
    by_step = runs.set_index(["step", "seed"])
    published, square, upright = (by_step.loc[name] for name in ("as published", "+ T²", "+ no flips at test time"))
    assert (published["plain"] == square["plain"]).all()  # the same network on the same flipped images
    pd.testing.assert_frame_equal(runs, d2.run(data, SETTINGS, teacher, epochs=1, seeds=(0, 1), views=2))


def test_summary_pairs_the_seeds():
    rows = [
        ("a", 0, 50.0, 52.0, 1, 2),
        ("a", 1, 60.0, 64.0, 1, 2),
        ("b", 0, 50.0, 49.0, 2, 2),
        ("b", 1, 60.0, 59.0, 2, 2),
    ]
    table = d2.summary(
        pd.DataFrame(rows, columns=["step", "seed", "plain", "distilled", "plain epochs", "distilled epochs"])
    ).set_index("step")
    assert table.index.tolist() == ["a", "b"] and table.seeds.tolist() == [2, 2]
    assert table["gain, points"].tolist() == [3.0, -1.0]
    assert table["± 95 % paired"].tolist() == pytest.approx([12.706, 0.0], abs=1e-3)


def test_the_published_table_is_that_of_the_repository():
    assert d2.PUBLISHED.loc["overall"].tolist() == [95.4, 94.2, 94.1]
    assert d2.PUBLISHED.loc["dog"].tolist() == [91.9, 89.9, 92.1] and len(d2.PUBLISHED) == 11


@pytest.mark.parametrize(
    ("gain", "half", "said"),
    [
        (0.1, 0.5, "symptom shows: the gain is next to nothing, from -0.40 to +0.60 points"),
        (-0.4, 0.2, "symptom shows"),
        (3.0, 1.5, "symptom does not show: the gain or loss is more than a point, from +1.50 to +4.50 points"),
        (-3.0, 1.5, "symptom does not show"),
        (0.33, 1.88, "is not decided: from -1.55 to +2.21 points"),  # includes zero, and gains that are worth having
        (1.2, 1.1, "is not decided"),  # a gain for certain, but perhaps a small one
    ],
)
def test_the_symptom_is_decided_by_the_whole_interval(gain, half, said):
    assert said in d2.symptom(gain, half)
