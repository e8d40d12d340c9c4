import numpy as np
import pytest

from kdcourse.common.errors import DataError, UsageError
from kdcourse.data.complexity import (
    PUBLISHED_RANKING,
    Complexity,
    channel_entropy,
    complexity,
    complexity_table,
    intra_inter_ratio,
)
from kdcourse.data.splits import DataSplits


def splits(images, labels, classes, name="made") -> DataSplits:
    """All but the last images train; validation and test are no part of what is measured."""
    n = len(images)
    parts = (np.arange(n - 2), [n - 2], [n - 1])
    channels = [f"c{i}" for i in range(images.shape[1])]
    return DataSplits.from_arrays(
        name, images, labels, parts, [str(c) for c in range(classes)], channels
    )


def clusters(spread: float, channels=1, size=8, n=302, seed=0, dtype=np.float32) -> DataSplits:
    """Three classes around three random patterns."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    patterns = rng.uniform(60, 180, (3, channels, size, size))
    images = patterns[labels] + spread * rng.standard_normal((n, channels, size, size))
    return splits(np.clip(images, 0, 255).astype(dtype), labels, 3)


def test_entropy_of_known_values():
    assert channel_entropy(np.full(100, 7.0)) == 0
    assert channel_entropy(np.array([0, 1] * 50)) == pytest.approx(1)
    assert channel_entropy(np.arange(256)) == pytest.approx(8)


def test_distance_ratio_of_known_points():
    # pairs within: 1 and 1; between: 3, 4, 2, 3 → 1 / 3
    assert intra_inter_ratio(
        np.array([[0.0], [1], [3], [4]]), np.array([0, 0, 1, 1])
    ) == pytest.approx(1 / 3)


def test_dimension_classes_and_volume_are_counts():
    measured = complexity(clusters(10, channels=13), sample=200)
    assert measured.dimension == 13 * 8 * 8
    assert (measured.classes, measured.train_samples) == (3, 300)
    assert measured.samples_per_class == pytest.approx(100)
    assert measured.label_entropy == pytest.approx(np.log2(3))
    assert measured.sample == 200


def test_effective_dimension_counts_the_directions_that_vary():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((64, 4)))[0]  # four, of equal variance
    images = (rng.standard_normal((402, 4)) @ directions.T).reshape(402, 1, 8, 8).astype(np.float32)
    assert complexity(splits(images, np.arange(402) % 2, 2)).effective_dimension == 4


def test_separate_clusters_are_easy_and_noise_is_hard():
    easy, hard = complexity(clusters(5)), complexity(clusters(3000))
    assert easy.nearest_neighbour_error == easy.linear_error == 0
    assert easy.intra_inter_ratio < 0.3
    assert hard.nearest_neighbour_error > 50 and hard.linear_error > 50  # chance: 67
    assert hard.intra_inter_ratio == pytest.approx(1, abs=0.05)


def test_a_linear_probe_fails_where_the_nearest_neighbour_succeeds():
    rng = np.random.default_rng(0)  # exclusive or: two clusters a class, in opposite corners
    corner = rng.integers(0, 2, (402, 2))
    points = 100 * corner + rng.standard_normal((402, 2))
    images = np.repeat(points, 32, axis=1).reshape(402, 1, 8, 8).astype(np.float32)
    measured = complexity(splits(images, corner.sum(1) % 2, 2))
    assert measured.nearest_neighbour_error < 2 and measured.linear_error > 25


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (13, np.uint16)])
def test_grey_colour_and_thirteen_bands(channels, dtype):
    measured = complexity(clusters(10, channels, size=64, n=152, dtype=dtype))
    assert measured.dimension == channels * 64 * 64
    assert 0 < measured.entropy <= 8


def test_the_same_seed_measures_the_same_and_validation_and_test_do_not_matter():
    data = clusters(60)
    first = complexity(data, sample=100, seed=3)
    data.train.images[-2:] = 0  # the validation and the test image
    assert complexity(data, sample=100, seed=3) == first
    assert complexity(data, sample=100, seed=4) != first


def test_the_table_has_a_row_a_data_set_with_the_published_word():
    mnist = clusters(10)
    table = complexity_table([mnist, DataSplits(**{**vars(mnist), "name": "mnist"})], sample=60)
    assert list(table.index) == ["made", "mnist"]
    assert list(table["published"]) == ["", PUBLISHED_RANKING["mnist"]]
    assert set(table.columns) == set(Complexity.__dataclass_fields__) - {"name"}


def test_what_cannot_be_measured_is_said():
    data = clusters(10)
    with pytest.raises(UsageError, match="sample=5"):
        complexity(data, sample=5)
    with pytest.raises(DataError, match="made.*empty"):
        complexity(DataSplits(**{**vars(data), "train": data.train.subset(np.array([], int))}))
    with pytest.raises(DataError, match="made.*one class"):
        complexity(DataSplits(**{**vars(data), "train": data.train.subset(np.arange(0, 300, 3))}))
    many = splits(
        np.random.default_rng(0).random((302, 1, 4, 4), np.float32), np.arange(302) % 100, 100
    )
    with pytest.raises(DataError, match="raise `sample`"):
        complexity(many, sample=20)
    flat = splits(np.ones((52, 1, 4, 4), np.float32), np.arange(52) % 2, 2)
    with pytest.raises(DataError, match="equal"):
        complexity(flat)
