"""The training loop."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import TrainingError, UsageError
from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import CrossEntropy
from kdcourse.training import Recipe, adamw, constant, fit, load_or_train, one_cycle
from kdcourse.training import checkpoint as files
from kdcourse.training.checkpoint import digest
from kdcourse.training.epoch import set_epoch_runner, validate


def small_net(channels=3, classes=3, width=4):
    """With batch norm and dropout: state and randomness, so that resuming has something to get
    wrong.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def fresh(seed=0, **kwargs):
    torch.manual_seed(seed)
    return small_net(**kwargs)


class Stopper(CrossEntropy):
    """Raises at the given step, as a killed process would stop there."""

    def __init__(self, at, error=KeyboardInterrupt):
        super().__init__()
        self.at, self.error, self.step = at, error, 0

    def _get_name(self):  # to a checkpoint it is the objective that goes on
        return "CrossEntropy"

    def forward(self, student, batch):
        self.step += 1
        if self.step == self.at:
            raise self.error
        return super().forward(student, batch)


OPTIONS = dict(
    epochs=4,
    batch_size=16,
    augment=Augmentation("square", pad=1, jitter=0.1),
    seed=3,
    progress=False,
    device="cpu",
)


class Adapted(CrossEntropy):
    """An adapter on the logits, made when the loop says what it will train on."""

    def prepare(self, student, batch, samples):
        self.prepared = [*getattr(self, "prepared", []), (len(batch), samples)]
        self.adapter = nn.Linear(student(batch.images).shape[1], 3)  # drawn at random

    def forward(self, student, batch):
        logits = self.adapter(student(batch.images))
        return {"label": nn.functional.cross_entropy(logits, batch.labels)}


def test_learns_what_can_be_learned(make_data):
    model = fresh()
    history = fit(
        model,
        make_data(),
        CrossEntropy(),
        **{**OPTIONS, "epochs": 12, "optimizer": partial(adamw, lr=0.03)},
    )
    frame = history.frame()
    assert list(frame["epoch"]) == list(range(1, 13))
    assert {"loss", "label", "train_accuracy", "val_accuracy", "val_loss", "lr", "seconds"} <= set(
        frame.columns
    )
    assert frame["loss"].iloc[-1] < 0.7 * frame["loss"].iloc[0]
    assert frame["val_accuracy"].iloc[-1] > 80  # chance is 33
    assert not model.training


def test_same_seed_same_bits_other_seed_other_bits(make_data):
    digests = []
    for seed in (3, 3, 4):
        model = fresh()
        fit(model, make_data(), CrossEntropy(), **{**OPTIONS, "seed": seed})
        digests.append(digest(model))
    assert digests[0] == digests[1] != digests[2]


def test_the_callers_random_numbers_go_on(make_data):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit(small_net_without_draws(), make_data(), CrossEntropy(), **OPTIONS)
    assert torch.equal(torch.rand(3), expected)


def small_net_without_draws():
    with torch.random.fork_rng():
        return small_net()


def test_training_mode_returns_after_each_validation(make_data):
    """A student left in eval mode after the first validation keeps its batch-norm statistics of
    epoch 1.
    """
    model, means = fresh(), []

    class Watch(CrossEntropy):
        def forward(self, student, batch):
            assert student.training
            means.append(student[1].running_mean.clone())
            return super().forward(student, batch)

    fit(model, make_data(), Watch(), **OPTIONS)
    assert all(not torch.equal(a, b) for a, b in zip(means, means[1:], strict=False))


GIVEN = []


def remembering_adamw(parameters):
    GIVEN[:] = parameters
    return adamw(parameters)


def test_the_objective_is_prepared_once_before_the_optimiser_is_made(make_data):
    objective, student, data = Adapted(), fresh(), make_data()
    fit(student, data, objective, **{**OPTIONS, "optimizer": remembering_adamw})
    assert objective.prepared == [(2, len(data.train))]
    assert [id(p) for p in GIVEN] == [
        id(p) for p in (*student.parameters(), *objective.adapter.parameters())
    ]


def test_what_is_prepared_is_drawn_from_the_seed_and_takes_none_of_the_callers_numbers(make_data):
    still = partial(torch.optim.SGD, lr=0.0)  # so that one sees what was drawn
    made, after, untrained = [], [], {**OPTIONS, "optimizer": still, "schedule": constant}
    for callers, seed in ((1, 3), (2, 3), (1, 4)):
        objective, student = Adapted(), fresh()
        torch.manual_seed(callers)
        fit(student, make_data(), objective, **{**untrained, "seed": seed})
        made.append(digest(objective.adapter))
        after.append(torch.rand(()).item())
    assert made[0] == made[1] != made[2]
    assert after[0] == after[2] != after[1]


def test_views_decide_what_is_shown(make_data):
    shown = []

    class Watch(CrossEntropy):
        def forward(self, student, batch):
            if batch.epoch == len(shown):  # the first batch of each epoch
                shown.append(batch.view)
            return super().forward(student, batch)

    digests = []
    for views in (None, 2, 4):
        shown.clear()
        model = fresh()
        fit(model, make_data(), Watch(), **{**OPTIONS, "views": views})
        digests.append(digest(model))
        assert shown == [epoch % (views or 99) for epoch in range(4)]
    assert len(set(digests)) == 3


def test_an_error_of_the_objective_says_when(make_data):
    class Refuses(CrossEntropy):
        def forward(self, student, batch):
            if batch.epoch == 1:
                raise UsageError("student_logits hold NaN")
            return super().forward(student, batch)

    with pytest.raises(UsageError, match="epoch 2, batch 1: student_logits hold NaN"):
        fit(fresh(), make_data(), Refuses(), **OPTIONS)


def test_one_cycle_of_any_length():
    for steps in range(1, 41):
        optimizer = adamw([nn.Parameter(torch.zeros(1))], lr=1e-2)
        schedule, rates = one_cycle(optimizer, steps), []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert (
            0 < min(rates) and max(rates) <= 1e-2 * (1 + 1e-9) and (steps < 5 or rates[-1] < 1e-5)
        )


def test_a_loss_that_is_not_finite_names_epoch_batch_and_term(make_data):
    class Breaks(CrossEntropy):
        steps, value = 0, 0.5

        def forward(self, student, batch):
            self.steps += 1
            hint = torch.tensor(self.value if self.steps == 7 else 0.5)
            return {**super().forward(student, batch), "hint": hint}

    for broken in (float("nan"), float("inf")):
        objective = Breaks()
        objective.value = broken
        with pytest.raises(
            TrainingError, match=r"epoch 2, batch 2: loss not finite \(hint = (nan|inf)\)"
        ):
            fit(fresh(), make_data(), objective, **OPTIONS)


def test_the_test_split_is_never_touched(make_data):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"training touched test.{name}")

    data = make_data()
    object.__setattr__(data, "test", Untouchable())
    fit(fresh(), data, CrossEntropy(), **OPTIONS)


def test_keep_best_holds_the_epoch_that_was_best_on_validation(make_data):
    """With a learning rate that ruins the network after a good start, best and last differ."""
    data = make_data()

    class Ruin(CrossEntropy):
        def forward(self, student, batch):
            terms = super().forward(student, batch)
            return terms if batch.epoch < 6 else {"label": -terms["label"]}

    options = {**OPTIONS, "epochs": 9, "optimizer": partial(adamw, lr=0.03), "schedule": constant}
    held, last = fresh(), fresh()
    best = fit(held, data, Ruin(), **{**options, "keep": "best"})
    fit(last, data, Ruin(), **options)
    assert best.reported_epoch == best.best_epoch < 9
    accuracy, _ = validate(held, data.val, torch.device("cpu"))
    assert accuracy == pytest.approx(best.frame()["val_accuracy"].max())
    assert digest(held) != digest(last)


def test_a_sampler_decides_the_epochs_size(make_data):
    seen = []

    class Count(CrossEntropy):
        def forward(self, student, batch):
            seen.extend(batch.index.tolist())
            return super().forward(student, batch)

    fit(fresh(), make_data(), Count(), sampler=lambda epoch: np.arange(10 + epoch), **OPTIONS)
    assert len(seen) == 10 + 11 + 12 + 13


def test_on_epoch_hears_each_record_once_it_is_kept(make_data, tmp_path):
    data, file, heard = make_data(), tmp_path / "run.pt", []

    def on_epoch(record):
        assert files.load(file)["history"][-1] == record
        heard.append(record)
        record.clear()  # its own copy

    history = fit(
        fresh(), data, CrossEntropy(), checkpoint=file, until=2, on_epoch=heard.append, **OPTIONS
    )
    assert heard == history.records and len(heard) == 2
    history = fit(fresh(), data, CrossEntropy(), checkpoint=file, on_epoch=on_epoch, **OPTIONS)
    assert len(heard) == len(history.records) == 4 and all(history.records)


def test_on_epoch_is_no_part_of_a_recipes_key(make_data, work):
    heard, recipe = [], Recipe(small_net, CrossEntropy, epochs=2)
    for expected in (2, 2):  # the second call finds the network
        load_or_train(
            recipe, make_data(), name="heard", device="cpu", progress=False, on_epoch=heard.append
        )
        assert len(heard) == expected
    assert len(list((work / "models").glob("heard-*.pt"))) == 1


def test_both_precisions_train(make_data):
    for precision in ["float32", "bfloat16"]:
        options = {
            **OPTIONS,
            "epochs": 12,
            "optimizer": partial(adamw, lr=0.03),
            "precision": precision,
        }
        history = fit(fresh(), make_data(), CrossEntropy(), **options)
        assert history.precision == precision
        assert history.frame()["val_accuracy"].iloc[-1] > 80


def test_clip_bounds_the_gradient(make_data):
    """Plain SGD with a learning rate of 1: the weights move by the gradient's norm at most."""
    options = {**OPTIONS, "optimizer": partial(torch.optim.SGD, lr=1.0), "schedule": constant}
    moves = []
    for clip in (None, 1e-3):
        student = fresh()
        before = [p.detach().clone() for p in student.parameters()]
        fit(student, make_data(), CrossEntropy(), **{**options, "max_steps": 1, "clip": clip})
        pairs = zip(student.parameters(), before, strict=True)
        moves.append(sum((a - b).detach().square().sum() for a, b in pairs).sqrt().item())
    assert moves[0] > 2e-3 and moves[1] == pytest.approx(1e-3, rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_code_on_cuda(make_data):
    model = fresh()
    history = fit(model, make_data(), CrossEntropy(), **{**OPTIONS, "epochs": 12, "device": "cuda"})
    assert history.device == "cuda"
    batch = next(Batches(make_data().val, 8, device="cuda").epoch())
    assert model(batch.images).device.type == "cuda"


def test_max_steps_ends_a_run_within_an_epoch(make_data):
    """Five batches an epoch: steps 6 and 7 are a short second epoch, recorded as any other."""
    steps, options = [], {**OPTIONS, "max_steps": 7}
    history = fit(fresh(), make_data(), CrossEntropy(), on_step=steps.append, **options)
    whole = fit(fresh(), make_data(), CrossEntropy(), **OPTIONS)
    assert steps == list(range(1, 8)) and [r["epoch"] for r in history.records] == [1, 2]
    # the schedule is that of all epochs: rates and losses agree with the whole run's
    assert [r["lr"] for r in history.records] == [r["lr"] for r in whole.records[:2]]
    assert history.records[0]["loss"] == whole.records[0]["loss"]


def test_an_epoch_runner_stands_in_for_every_epoch(make_data):
    epochs = []

    def runner(epoch):
        epochs.append((epoch.number, epoch.steps, epoch.steps_before))
        means = epoch.train(max_steps=1)
        accuracy, loss = epoch.validate("val")
        return {**means, "train_accuracy": 0.0, "val_accuracy": accuracy, "val_loss": loss}

    set_epoch_runner(runner)
    try:
        history = fit(fresh(), make_data(), CrossEntropy(), **OPTIONS)
    finally:
        set_epoch_runner(None)
    assert epochs == [(0, 5, 0), (1, 5, 5), (2, 5, 10), (3, 5, 15)]
    assert [record["train_accuracy"] for record in history.records] == [0.0] * 4
