"""Batches are a function of (seed, epoch); augmentation of (seed, epoch, index)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import AUGMENTATIONS, DRAWS, Augmentation, Batches

SATELLITE = AUGMENTATIONS["satellite"]


def gathered(batches, epoch):
    """index → normalised image of an epoch."""
    return {
        int(i): image
        for b in batches.epoch(epoch)
        for i, image in zip(b.index, b.images, strict=True)
    }


def test_an_epoch_holds_every_sample_once(make_data):
    train = make_data().train
    for seed in (None, 0):
        batches = list(Batches(train, 16, seed=seed).epoch(2))
        index = torch.cat([b.index for b in batches])
        assert sorted(index.tolist()) == list(range(len(train)))
        assert [len(b) for b in batches] == [16, 16, 16, 16, 8]
        np.testing.assert_array_equal(torch.cat([b.labels for b in batches]), train.labels[index])
    assert len(Batches(train, 16)) == 5


def test_without_a_seed_in_order(make_data):
    index = torch.cat([b.index for b in Batches(make_data().test, 7).epoch(4)])
    np.testing.assert_array_equal(index, np.arange(len(index)))


def test_the_order_depends_on_seed_and_epoch_alone(make_data):
    train = make_data().train
    np.testing.assert_array_equal(
        Batches(train, 8, seed=1).order(3), Batches(train, 64, seed=1).order(3)
    )
    assert not np.array_equal(
        Batches(train, 8, seed=1).order(3), Batches(train, 8, seed=1).order(4)
    )
    assert not np.array_equal(
        Batches(train, 8, seed=1).order(3), Batches(train, 8, seed=2).order(3)
    )


def test_a_view_depends_on_seed_epoch_and_index_alone(make_data):
    train = make_data(size=12).train
    small = gathered(Batches(train, 8, seed=1, augment=SATELLITE), 3)
    large = gathered(Batches(train, 50, seed=1, augment=SATELLITE), 3)
    some = gathered(
        Batches(train, 5, seed=1, augment=SATELLITE, sampler=lambda epoch: np.array([9, 4, 30])), 3
    )
    assert all(torch.equal(small[i], large[i]) for i in small)
    assert set(some) == {9, 4, 30} and all(torch.equal(some[i], small[i]) for i in some)
    other = gathered(Batches(train, 8, seed=1, augment=SATELLITE), 4)
    assert sum(not torch.equal(small[i], other[i]) for i in small) > len(small) // 2


def test_images_are_normalised_by_train(make_data):
    data = make_data()
    images = torch.cat([b.images for b in Batches(data.train, 32).epoch()])
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(images.std((0, 2, 3), correction=0), 1, atol=1e-4)
    test = next(Batches(data.test, 4).epoch()).images
    expected = (data.test.take(range(4)) - data.mean[:, None, None]) / data.std[:, None, None]
    np.testing.assert_allclose(test, expected, rtol=1e-4, atol=1e-5)


def test_uint16_keeps_its_values(make_data):
    train = make_data().train
    images = train.images.astype(np.uint16) * 257  # up to 65,535, beyond what int16 holds
    wide = replace(train, images=images, mean=np.zeros(3, np.float32), std=np.ones(3, np.float32))
    np.testing.assert_array_equal(
        next(Batches(wide, 8).epoch()).images, wide.take(range(8)).astype(np.float32)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64, np.int32])
def test_only_bytes_and_float32_go_to_the_device(make_data, monkeypatch, dtype):
    """Apple's GPU knows no float64, and few kernels know uint16."""
    train = make_data().train
    sent, send = [], torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: sent.append(array) or send(array))
    next(Batches(replace(train, images=train.images.astype(dtype)), 8).epoch())
    assert sent[0].ndim == 4 and sent[0].dtype in (np.uint8, np.float32)


def test_the_eight_symmetries_of_a_square():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    seen = set()
    for bits in range(8):
        draws = torch.full((1, DRAWS), 0.9)
        for bit in range(3):
            draws[0, bit] = 0.1 if bits >> bit & 1 else 0.9
        seen.add(tuple(Augmentation("square")(image, draws).flatten().tolist()))
    expected = {
        tuple(torch.rot90(view, k, (2, 3)).flatten().tolist())
        for view in (image, image.flip(3))
        for k in range(4)
    }
    assert seen == expected


def test_a_shift_fills_by_reflection():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    draws = torch.full((1, DRAWS), 0.5)
    draws[0, 3] = 0.999  # the largest shift down, none across
    shifted = Augmentation("none", pad=1)(image, draws)[0, 0]
    np.testing.assert_array_equal(shifted[:, 0], [4, 8, 12, 8])
    draws[0, 3] = 0.0
    np.testing.assert_array_equal(
        Augmentation("none", pad=1)(image, draws)[0, 0, :, 0], [4, 0, 4, 8]
    )


def test_jitter_keeps_band_ratios():
    image = torch.rand(5, 13, 4, 4) + 1
    bright = Augmentation(jitter=0.3)(image, torch.rand(5, DRAWS))
    gain = (bright / image).flatten(1)
    np.testing.assert_allclose(gain, gain[:, :1].expand_as(gain), rtol=1e-5)
    assert gain.min() >= 0.7 and gain.max() <= 1.3 and gain.std() > 0.01


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_moves_no_pixel_between_bands(name):
    if AUGMENTATIONS[name] is None:
        return
    image = torch.stack([torch.full((16, 16), float(band)) for band in range(1, 4)])[None].repeat(
        20, 1, 1, 1
    )
    draws = torch.rand(20, DRAWS, generator=torch.Generator().manual_seed(0))
    out = AUGMENTATIONS[name](image, draws)
    assert out.shape == image.shape
    np.testing.assert_allclose(out / out[:, :1], image / image[:, :1], rtol=1e-5)


def test_what_is_refused(make_data):
    data = make_data()
    with pytest.raises(UsageError, match="batch_size=0"):
        Batches(data.train, 0)
    with pytest.raises(UsageError, match="test split"):
        Batches(data.test, 4, seed=0, augment=SATELLITE)
    with pytest.raises(UsageError, match="needs seed="):
        Batches(data.train, 4, augment=SATELLITE)
    with pytest.raises(UsageError, match="seed=-1"):
        Batches(data.train, 4, seed=-1)
    with pytest.raises(UsageError, match="empty"):
        Batches(data.val.subset([]), 4)
    with pytest.raises(UsageError, match="unknown symmetries"):
        Augmentation("round")
    with pytest.raises(UsageError, match="jitter"):
        Augmentation(jitter=1.5)
    with pytest.raises(UsageError, match="square images"):
        Augmentation("square")(torch.zeros(1, 1, 4, 5), torch.zeros(1, DRAWS))
    with pytest.raises(UsageError, match="as large as the image"):
        Augmentation(pad=4)(torch.zeros(1, 1, 4, 4), torch.zeros(1, DRAWS))


def test_a_sampler_decides_what_an_epoch_holds(make_data):
    batches = Batches(
        make_data().train, 4, seed=0, sampler=lambda epoch: np.array([epoch, 5, 5, 2, 1])
    )
    index = torch.cat([b.index for b in batches.epoch(7)])
    assert index.tolist() == [7, 5, 5, 2, 1]


# repeated views


def repeating(split, **changes):
    return Batches(split, 16, **{"seed": 1, "augment": SATELLITE, "views": 3, **changes})


def test_views_repeat_and_are_the_same_for_every_seed(make_data):
    train = make_data(size=12).train
    batches, other = repeating(train), repeating(train, seed=2)
    seen = [gathered(batches, epoch) for epoch in range(6)]
    for epoch in range(3):
        again, others = seen[epoch + 3], gathered(other, epoch)
        assert all(
            torch.equal(seen[epoch][i], again[i]) and torch.equal(seen[epoch][i], others[i])
            for i in again
        )
    assert sum(not torch.equal(seen[0][i], seen[1][i]) for i in seen[0]) > len(train) // 2
    assert not np.array_equal(
        batches.order(0), batches.order(3)
    )  # the order is each epoch's and each seed's own
    assert not np.array_equal(batches.order(0), other.order(0))
    assert [next(batches.epoch(epoch)).view for epoch in range(5)] == [0, 1, 2, 0, 1]


def test_views_of_its_own_each_epoch(make_data):
    batches = Batches(make_data(size=12).train, 16, seed=1, augment=SATELLITE)
    assert [next(batches.epoch(epoch)).view for epoch in (0, 7)] == [0, 7]
    assert batches.repeated is None


def test_without_augmentation_there_is_one_view(make_data):
    batches = Batches(make_data().train, 16, seed=1)
    assert [next(batches.epoch(epoch)).view for epoch in (0, 7)] == [0, 0]
    assert next(batches.view(2)).view == 0
    assert batches.repeated == Batches(make_data().train, 8, seed=2, views=4).repeated is not None


@pytest.mark.parametrize("views", [None, 3])
def test_a_view_is_what_its_epoch_shows_in_the_splits_order(make_data, views):
    batches = repeating(make_data(size=12).train, views=views)
    shown = gathered(batches, 2)
    index = torch.cat([batch.index for batch in batches.view(2)])
    images = torch.cat([batch.images for batch in batches.view(2)])
    assert index.tolist() == list(range(len(batches.split)))
    assert all(torch.equal(images[i], shown[i]) for i in shown)
    some = next(batches.view(2, [5, 70, 5]))
    assert some.index.tolist() == [5, 70, 5] and torch.equal(some.images, images[[5, 70, 5]])
    assert {batch.view for batch in batches.view(2)} == {2}


@pytest.mark.parametrize("view", [-1, 3])
def test_views_that_are_not_there(make_data, view):
    with pytest.raises(UsageError, match=f"view={view}: expected 0 or more, and less than views=3"):
        repeating(make_data().train).view(view)


def test_too_few_views(make_data):
    with pytest.raises(UsageError, match="views=0"):
        repeating(make_data().train, views=0)


def test_what_images_do_not_depend_on_has_the_same_name(make_data):
    train = make_data().train
    names = [repeating(train), repeating(train, seed=9), repeating(make_data().train, views=5)]
    names.append(
        Batches(train, 3, seed=1, augment=SATELLITE, views=3, sampler=lambda epoch: np.arange(9))
    )
    assert len({batches.repeated for batches in names}) == 1


def test_other_images_have_another_name(make_data):
    data = make_data()
    train = data.train
    names = [
        repeating(train),
        repeating(train, augment=None),
        repeating(train, augment=Augmentation("square", pad=3, jitter=0.1)),
        repeating(train, augment=AUGMENTATIONS["natural"]),
        repeating(make_data(seed=1).train),
        repeating(make_data(size=12).train),
        repeating(make_data(channels=4).train),
        repeating(data.val, augment=None),
        repeating(train.subset(np.arange(60))),
        repeating(train.subset(np.arange(72)[::-1])),
        repeating(replace(train, rows=train.rows[::-1])),
        repeating(replace(train, mean=train.mean + 1)),
        repeating(replace(train, std=train.std * 2)),
        repeating(replace(train, images=train.images.astype(np.float32))),
    ]
    assert len({batches.repeated for batches in names}) == len(names) and None not in {
        b.repeated for b in names
    }


def test_what_cannot_be_named_has_no_name(make_data):
    class Mine(Augmentation):
        pass

    train = make_data().train
    assert repeating(train, augment=Mine("square")).repeated is None
    assert repeating(train, augment=lambda images, draws: images).repeated is None
    assert repeating(replace(train, fingerprint="")).repeated is None


def test_a_batch_knows_what_it_was_cut_from_and_one_with_other_images_does_not(make_data):
    batches = repeating(make_data().train)
    batch = next(batches.epoch(0))
    assert batch.source is batches
    assert replace(batch, images=batch.images.flip(0)).source is None
    assert "Batches" not in repr(batch)
