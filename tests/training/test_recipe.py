from functools import partial

import pytest
from test_fit import fresh, small_net

from kdcourse.common.errors import UsageError
from kdcourse.data import Augmentation
from kdcourse.distillation import CrossEntropy
from kdcourse.training import Recipe, adamw, load_or_train, one_cycle
from kdcourse.training.checkpoint import describe, digest
from kdcourse.training.epoch import Epoch


def recipe(**change):
    return Recipe(
        **{**dict(model=small_net, objective=CrossEntropy, epochs=2, batch_size=16), **change}
    )


def test_load_or_train_trains_once(make_data, work, monkeypatch):
    data = make_data(seed=5)
    first, history = load_or_train(recipe(), data, name="once", progress=False, device="cpu")
    monkeypatch.setattr(Epoch, "train", lambda epoch: pytest.fail("trained again"))
    second, again = load_or_train(recipe(), data, name="once", progress=False, device="cpu")
    assert digest(first) == digest(second)
    assert again.records == history.records
    assert not second.training
    assert len(list((work / "models").glob("once-*.pt"))) == 1


def test_a_network_trained_in_another_precision_is_taken_as_it_is(make_data):
    """Trained on a GPU, used on a CPU: the History says what it was trained in."""
    options = dict(name="precise", progress=False, device="cpu")
    first, _ = load_or_train(recipe(), make_data(), precision="bfloat16", **options)
    second, history = load_or_train(recipe(), make_data(), precision="float32", **options)
    assert digest(first) == digest(second) and history.precision == "bfloat16"


def test_the_key_follows_everything_that_matters(make_data):
    teacher_a, teacher_b = fresh(1), fresh(2)
    variants = [
        recipe(),
        recipe(epochs=3),
        recipe(seed=1),
        recipe(model=partial(small_net, width=8)),
        recipe(optimizer=partial(adamw, lr=0.1)),
        recipe(objective=partial(CrossEntropy, label_smoothing=0.1)),
        recipe(
            objective=partial(CrossEntropy, teacher_a)
        ),  # a network among the arguments counts by its bits
        recipe(objective=partial(CrossEntropy, teacher_b)),
        recipe(augment=Augmentation("flip")),
    ]
    keys = [v.key(make_data()) for v in variants] + [recipe().key(make_data(seed=9))]
    assert len(set(keys)) == len(keys)
    assert recipe().key(make_data()) == keys[0]


def test_a_description_is_the_same_in_every_process():
    """Plain values: no address in memory, no hash that Python salts anew in each process."""
    assert describe(adamw) == [
        "torch.optim.adamw.AdamW",
        [],
        {"lr": 3e-3, "weight_decay": 5e-2},
    ]
    # a new name of a schedule would be a new key: trained networks would not be found again
    assert describe(one_cycle) == "kdcourse.training.fit.one_cycle"


def test_a_recipe_that_cannot_be_named_is_refused(make_data):
    with pytest.raises(UsageError, match="functools.partial"):
        recipe(model=lambda: small_net()).key(make_data())
