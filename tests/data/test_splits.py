"""Splits: shares, determinism, the mean and deviation of train alone."""

import numpy as np
import pytest
import torch

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data.splits import DataSplits, channel_statistics, stratified, stratified_sample

LABELS = np.repeat([0, 1, 2], [100, 50, 30])


def test_parts_are_disjoint_whole_and_keep_the_shares():
    parts = stratified(LABELS, (0.7, 0.1, 0.2), seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(180))
    counts = np.array([np.bincount(LABELS[part]) for part in parts])
    np.testing.assert_array_equal(counts, [[70, 35, 21], [10, 5, 3], [20, 10, 6]])


def test_the_seed_decides_and_nothing_else():
    first, again = stratified(LABELS, (0.5, 0.5), seed=3), stratified(LABELS, (0.5, 0.5), seed=3)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    other = stratified(LABELS, (0.5, 0.5), seed=4)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("size", [3, 4, 5, 7])
def test_every_part_gets_one_of_each_class(size):
    parts = stratified(np.repeat([0, 1], size), (0.98, 0.01, 0.01), seed=0)
    for part in parts:
        assert len(part) >= 2 and set(np.repeat([0, 1], size)[part]) == {0, 1}


def test_too_few_samples_of_a_class():
    with pytest.raises(DataError, match="class 1 has 2"):
        stratified(np.array([0, 0, 0, 1, 1]), (0.6, 0.2, 0.2), seed=0)


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (1.2, -0.2), (1.0, 0.0)])
def test_fractions_that_cannot_be(fractions):
    with pytest.raises(UsageError, match="fractions"):
        stratified(LABELS, fractions, seed=0)


def test_a_sample_has_the_exact_count_and_the_shares():
    for count in (3, 10, 17, 179, 180):
        chosen = stratified_sample(LABELS, count, seed=0)
        assert len(set(chosen)) == count
        share = count * np.bincount(LABELS) / len(LABELS)
        assert np.abs(np.bincount(LABELS[chosen]) - np.maximum(share, 1)).max() <= 1


def test_a_smaller_sample_is_part_of_a_larger_one():
    assert set(stratified_sample(LABELS, 40, seed=5)) < set(stratified_sample(LABELS, 90, seed=5))


def test_the_least_of_each_group_is_kept():
    chosen = stratified_sample(np.repeat([0, 1], [1000, 5]), 20, seed=0, least=3)
    np.testing.assert_array_equal(np.bincount(np.repeat([0, 1], [1000, 5])[chosen]), [17, 3])
    with pytest.raises(UsageError):
        stratified_sample(LABELS, 181, seed=0)
    with pytest.raises(UsageError):
        stratified_sample(LABELS, 8, seed=0, least=3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_statistics_are_those_of_numpy(dtype):
    images = np.random.default_rng(0).integers(0, 255, (700, 3, 5, 4)).astype(dtype)
    rows = np.arange(0, 700, 2)
    mean, std = channel_statistics(images, rows)
    np.testing.assert_allclose(mean, images[rows].astype(float).mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, images[rows].astype(float).std(axis=(0, 2, 3)), rtol=1e-5)


def test_a_constant_channel_can_be_divided_by():
    images = np.zeros((4, 2, 3, 3), dtype=np.uint8)
    images[:, 1] = 9
    mean, std = channel_statistics(images, np.arange(4))
    np.testing.assert_array_equal(mean, [0, 9])
    np.testing.assert_array_equal(std, [1, 1])


def test_mean_and_deviation_are_of_train_alone():
    images = np.concatenate([np.full((5, 1, 2, 2), 10), np.full((5, 1, 2, 2), 200)]).astype(
        np.uint8
    )
    parts = [np.arange(5), np.arange(5, 7), np.arange(7, 10)]
    data = DataSplits.from_arrays("toy", images, np.tile([0, 1], 5), parts, ["a", "b"], ["grey"])
    for split in (data.train, data.val, data.test):
        np.testing.assert_array_equal(split.mean, [10])
    np.testing.assert_array_equal(data.mean, [10])


def test_take_and_subset_speak_of_places_in_the_split(make_data):
    data = make_data()
    part = data.val.subset([3, 1])
    np.testing.assert_array_equal(part.take([0, 1]), data.val.take([3, 1]))
    np.testing.assert_array_equal(part.labels, data.val.labels[[3, 1]])
    assert part.name == "val" and len(part) == 2
    np.testing.assert_array_equal(data.val.take([0])[0], data.val.images[data.val.rows[0]])


def test_the_representation_says_what_it_is(make_data):
    assert repr(make_data()) == "toy: 72 + 24 + 24 (train + val + test) images of 8×8×3, 3 classes"


def test_a_splits_fingerprint_is_of_the_data_and_its_rows(make_data):
    data, again, other = make_data(), make_data(), make_data(seed=1)
    names = [
        data.train.fingerprint,
        data.val.fingerprint,
        data.test.fingerprint,
        other.train.fingerprint,
    ]
    assert len(set(names)) == 4 and "" not in names
    assert data.train.fingerprint == again.train.fingerprint
    part = data.train.subset([3, 1])
    assert part.fingerprint == again.train.subset([3, 1]).fingerprint
    different = [
        data.train.subset([1, 3]),
        data.train.subset([3, 2]),
        data.val.subset([3, 1]),
        data.train,
    ]
    assert part.fingerprint not in {split.fingerprint for split in different}


def arrays(**changes) -> DataSplits:
    """Six images of two classes, as an engineer hands them over."""
    images = np.random.default_rng(0).integers(0, 255, (6, 1, 2, 2)).astype(np.uint8)
    parts = [np.arange(2), np.arange(2, 4), np.arange(4, 6)]
    given = dict(
        images=images, labels=np.tile([0, 1], 3), parts=parts, classes=["a", "b"], channels=["grey"]
    )
    return DataSplits.from_arrays("toy", **given | changes)


def test_arrays_have_a_fingerprint_of_their_values():
    """Networks and answers are kept under it: of other data none may be taken."""
    data = arrays()
    images, labels = data.train.images, np.tile([0, 1], 3)
    others = [
        arrays(images=255 - images),
        arrays(images=images.astype(np.float32)),
        arrays(images=images.reshape(6, 1, 1, 4)),
        arrays(labels=1 - labels),
        arrays(parts=[np.arange(3), [3], [4, 5]]),
        arrays(parts=[[1, 0], [2, 3], [4, 5]]),
    ]
    names = [each.fingerprint for each in (data, *others)]
    assert len(set(names)) == len(names) and "" not in names
    assert arrays(images=np.asfortranarray(images)).fingerprint == data.fingerprint
    assert data.train.fingerprint and arrays(fingerprint="mine").fingerprint == "mine"


def test_a_fingerprint_that_is_given_is_not_computed(monkeypatch):
    """Which would read all of a large data set from the disk, at every `load`."""
    monkeypatch.setattr("kdcourse.data.splits._of_arrays", lambda *arrays: pytest.fail("computed"))
    assert arrays(fingerprint="mine").fingerprint == "mine"


def test_data_without_a_fingerprint_have_none_for_their_splits():
    data = arrays(fingerprint="")
    assert data.train.fingerprint == data.train.subset([0]).fingerprint == ""


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"images": torch.zeros(6, 1, 2, 2)},
            r"images: expected a NumPy array \(M, C, H, W\), got Tensor.*numpy\(\)",
        ),
        ({"images": np.zeros((6, 2, 2))}, r"images: .* got ndarray of shape \(6, 2, 2\)"),
        ({"labels": np.tile([1, 2], 3)}, "labels: expected 0 to 1, for 2 classes, got 1 to 2"),
        ({"labels": [-1, 0, 1, 0, 1, 0]}, "labels: expected 0 to 1"),
        (
            {"labels": np.linspace(0, 1, 6)},
            "labels: expected 6 whole numbers, one an image, got float64",
        ),
        ({"labels": [0, 1]}, r"labels: expected 6 whole numbers.* shape \(2,\)"),
        ({"channels": ["r", "g"]}, "channels: expected 1 names, one a channel, got 2"),
        ({"parts": [[0, 1], [2, 3]]}, "parts: expected rows of train, val and test, from 0 to 5"),
        ({"parts": [[0, 1], [2, 3], [4, 6]]}, "parts: expected rows"),
    ],
)
def test_arrays_that_cannot_be_trained_on(changes, message):
    with pytest.raises(UsageError, match=message):
        arrays(**changes)


# --- fewer ----------------------------------------------------------------------------------------


def test_fewer_keeps_the_count_and_the_shares_of_train_and_leaves_test_whole(make_data):
    data = make_data(count=300, classes=3)  # 180 + 60 + 60
    part = data.fewer(90)
    assert [len(split) for split in (part.train, part.val, part.test)] == [90, 60, 60]
    np.testing.assert_array_equal(np.bincount(part.train.labels), [30, 30, 30])
    np.testing.assert_array_equal(part.test.rows, data.test.rows)
    np.testing.assert_array_equal(part.val.rows, data.val.rows)
    assert set(part.train.rows) < set(data.train.rows)
    np.testing.assert_array_equal(
        part.train.labels, part.train.rows % 3
    )  # labels went with their rows
    assert (part.train.name, part.classes, part.name) == ("train", data.classes, data.name)


def test_fewer_cuts_validation_to_as_many_as_train(make_data):
    data = make_data(count=300, classes=3)
    part = data.fewer(30)
    assert (len(part.train), len(part.val), len(part.test)) == (30, 30, 60)
    np.testing.assert_array_equal(np.bincount(part.val.labels), [10, 10, 10])
    assert set(part.val.rows) < set(data.val.rows)


def test_fewer_images_are_part_of_more_with_the_same_seed(make_data):
    data = make_data(count=300, classes=3)
    less, more = data.fewer(20), data.fewer(50)
    assert set(less.train.rows) < set(more.train.rows) and set(less.val.rows) < set(more.val.rows)
    assert not set(data.fewer(20, seed=1).train.rows) <= set(more.train.rows)


def test_fewer_normalises_all_parts_by_what_is_left(make_data):
    data = make_data(count=300, classes=3)
    part = data.fewer(9)
    left = part.train.take(range(9)).astype(float)
    for split in (part.train, part.val, part.test):
        np.testing.assert_allclose(split.mean, left.mean(axis=(0, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(split.std, left.std(axis=(0, 2, 3)), rtol=1e-5)
    assert not np.allclose(part.mean, data.mean)
    np.testing.assert_array_equal(data.test.mean, data.mean)  # the whole is as it was


def test_fewer_has_a_fingerprint_of_its_own_that_is_stable(make_data):
    data = make_data(count=300, classes=3)
    parts = [
        data,
        data.fewer(30),
        data.fewer(31),
        data.fewer(30, seed=1),
        make_data(count=300, seed=1).fewer(30),
    ]
    names = [part.fingerprint for part in parts]
    assert len(set(names)) == 5 and "" not in names
    assert make_data(count=300, classes=3).fewer(30).fingerprint == names[1]


@pytest.mark.parametrize("count", [0, 2, 181])
def test_fewer_refuses_a_count_that_cannot_be(make_data, count):
    with pytest.raises(UsageError, match=f"{count} of 180 samples: expected 3 or more"):
        make_data(count=300, classes=3).fewer(count)
    assert len(make_data(count=300, classes=3).fewer(3).train) == 3
