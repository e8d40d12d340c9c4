import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from kdcourse.common.errors import CheckpointError, TrainingError, UsageError
from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import CrossEntropy, ResponseKD, Teacher
from kdcourse.training import Recipe, adamw, constant, fit, load_or_train, one_cycle
from kdcourse.training import checkpoint as files
from kdcourse.training.checkpoint import digest
from kdcourse.training.epoch import set_epoch_runner, validate
from kdcourse.training.settings import resolve_precision


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


@pytest.mark.parametrize(
    "step", [1, 5, 6, 9, 17]
)  # five batches an epoch: in the first, at a border, in the last
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_stopped_run_goes_on_to_the_same_bits(make_data, tmp_path, step, keep):
    data, options = make_data(), {**OPTIONS, "keep": keep}
    whole = fresh()
    expected = fit(whole, data, CrossEntropy(), **options)
    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), data, Stopper(step), checkpoint=file, **options)
    resumed = fresh(seed=99)  # its own weights must not matter once there is a checkpoint
    if step <= 5:
        resumed = fresh()
    history = fit(resumed, data, CrossEntropy(), checkpoint=file, **options)
    assert digest(resumed) == digest(whole)
    left_out = ["seconds"]
    assert history.frame().drop(columns=left_out).equals(expected.frame().drop(columns=left_out))
    assert not list(tmp_path.glob("*.partial"))


KILLED = """
    import sys, time, torch
    torch.set_num_threads(1)
    sys.path.insert(0, {tests!r})
    from test_fit import OPTIONS, fresh
    from toy_data import toy_data
    from kdcourse.distillation import CrossEntropy, ResponseKD, Teacher
    from kdcourse.training import fit
    from kdcourse.training.checkpoint import digest

    class Slow(CrossEntropy):
        def forward(self, student, batch):
            time.sleep(0.01)
            return super().forward(student, batch)

    data = toy_data()
    model = fresh()
    print("started", flush=True)
    fit(model, data, Slow(), checkpoint={file!r}, **{{**OPTIONS, "epochs": 8}})
    print(digest(model), flush=True)
"""


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again(make_data, tmp_path):
    """SIGKILL leaves no time to tidy up: whatever lies on disk must be whole, and the end must be
    the same bits.
    """
    file = tmp_path / "run.pt"
    here = os.path.dirname(__file__)
    script = textwrap.dedent(KILLED).format(tests=here, file=str(file))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.path.dirname(here)])}
    moments = random.Random(20261120)
    kills = resumed = 0
    while True:
        resumed += file.exists()
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout.readline().strip() == "started"
        if kills < 4:
            time.sleep(moments.uniform(0.05, 0.6))
            child.send_signal(signal.SIGKILL)
        rest = child.communicate(timeout=120)[0].strip()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 1 and resumed >= 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = fresh()
        fit(whole, make_data(), CrossEntropy(), **{**OPTIONS, "epochs": 8})
    finally:
        torch.set_num_threads(threads)
    assert rest == digest(whole), f"after {kills} kills the weights differ"


def test_interrupting_leaves_a_checkpoint_and_a_usable_network(make_data, tmp_path):
    file, model = tmp_path / "run.pt", fresh()
    with pytest.raises(KeyboardInterrupt):
        fit(model, make_data(), Stopper(8), checkpoint=file, **OPTIONS)
    assert len(torch.load(file, weights_only=True)["history"]) == 1
    assert not model.training
    assert torch.isfinite(model(torch.zeros(2, 3, 8, 8))).all()


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


def test_the_objectives_own_parameters_are_trained_and_kept(make_data, tmp_path):
    class Scaled(CrossEntropy):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, student, batch):
            logits = self.scale * student(batch.images)
            return {"label": nn.functional.cross_entropy(logits, batch.labels)}

    objective, file = Scaled(), tmp_path / "run.pt"
    fit(fresh(), make_data(), objective, checkpoint=file, **OPTIONS)
    assert objective.scale.item() != 1
    again = Scaled()
    fit(fresh(), make_data(), again, checkpoint=file, **OPTIONS)
    assert again.scale.item() == objective.scale.item()


class Adapted(CrossEntropy):
    """An adapter on the logits, made when the loop says what it will train on."""

    def prepare(self, student, batch, samples):
        self.prepared = [*getattr(self, "prepared", []), (len(batch), samples)]
        self.adapter = nn.Linear(student(batch.images).shape[1], 3)  # drawn at random

    def forward(self, student, batch):
        logits = self.adapter(student(batch.images))
        return {"label": nn.functional.cross_entropy(logits, batch.labels)}


class StoppedAdapted(Adapted):
    at, step = 8, 0

    def _get_name(self):
        return "Adapted"

    def forward(self, student, batch):
        self.step += 1
        if self.step == self.at:
            raise KeyboardInterrupt
        return super().forward(student, batch)


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


@pytest.mark.parametrize("step", [1, 8, 17])
def test_a_stopped_run_with_adapters_goes_on_to_the_same_bits(make_data, tmp_path, step):
    data, whole, file = make_data(), fresh(), tmp_path / "run.pt"
    objective, stopped, again = Adapted(), StoppedAdapted(), Adapted()
    options = {**OPTIONS, "views": 2}
    fit(whole, data, objective, **options)
    stopped.at = step
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), data, stopped, checkpoint=file, **options)
    resumed = fresh()
    fit(resumed, data, again, checkpoint=file, **options)
    assert digest(resumed) == digest(whole)
    assert digest(again.adapter) == digest(objective.adapter)


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


@pytest.mark.parametrize("steps", range(1, 41))
def test_one_cycle_of_any_length(steps):
    optimizer = adamw([nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule, rates = one_cycle(optimizer, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert 0 < min(rates) and max(rates) <= 1e-2 * (1 + 1e-9) and (steps < 5 or rates[-1] < 1e-5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_epoch_batch_and_term(make_data, broken):
    class Breaks(CrossEntropy):
        steps = 0

        def forward(self, student, batch):
            self.steps += 1
            hint = torch.tensor(broken if self.steps == 7 else 0.5)
            return {**super().forward(student, batch), "hint": hint}

    with pytest.raises(
        TrainingError, match=r"epoch 2, batch 2: loss not finite \(hint = (nan|inf)\)"
    ):
        fit(fresh(), make_data(), Breaks(), **OPTIONS)


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


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (dict(epochs=0), "epochs=0"),
        (dict(epochs=1.5), "epochs=1.5"),
        (dict(clip=-1.0), "clip=-1.0"),
        (dict(device="abacus"), "device='abacus'"),
        (dict(keep="worst"), "keep"),
        (dict(precision="float8"), "precision"),
        (dict(augment="blur"), "augmentation"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(seed=-1), "seed=-1"),
        (dict(views=0), "views=0"),
    ],
)
def test_wrong_arguments_are_named(make_data, wrong, names):
    with pytest.raises(UsageError, match=names):
        fit(fresh(), make_data(), CrossEntropy(), **{**OPTIONS, **wrong})


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (dict(classes=2), r"shape \(2,\), expected \(3,\)"),
        (dict(channels=4), r"cannot take images of shape \(3, 8, 8\)"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_said(make_data, model, names):
    with pytest.raises(UsageError, match=names):
        fit(fresh(**model), make_data(), CrossEntropy(), **OPTIONS)


def test_nothing_to_train(make_data):
    model = fresh().requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        fit(model, make_data(), CrossEntropy(), **OPTIONS)


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(make_data, tmp_path):
    file = tmp_path / "run.pt"
    fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)
    before = file.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"run.pt: belongs to another architecture.*0.weight: \(8, 3, 3, 3\)"
    ):
        fit(fresh(width=8), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (dict(seed=4), "seed was 3, is now 4"),
        (dict(epochs=5), "epochs was 4"),
        (dict(views=2), "views was None, is now 2"),
        (dict(optimizer=torch.optim.SGD), "optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(make_data, tmp_path, change, names):
    file = tmp_path / "run.pt"
    fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)
    with pytest.raises(CheckpointError, match=f"belongs to another run: {names}"):
        fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **{**OPTIONS, **change})


def test_a_checkpoint_of_another_objective_is_refused(make_data, tmp_path):
    file = tmp_path / "run.pt"
    teachers = [Teacher(fresh(seed=seed)) for seed in (1, 2)]
    options = dict(checkpoint=file, **OPTIONS)
    fit(fresh(), make_data(), ResponseKD(teachers[0]), **options)
    fit(fresh(), make_data(), ResponseKD(teachers[0]), **options)
    for other in (CrossEntropy(), ResponseKD(teachers[0], temperature=2), ResponseKD(teachers[1])):
        with pytest.raises(
            CheckpointError, match="belongs to another run: objective was ResponseKD"
        ):
            fit(fresh(), make_data(), other, **options)


def test_a_checkpoint_that_does_not_say_its_objective_is_taken(make_data, tmp_path):
    file = tmp_path / "run.pt"
    fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)
    content = files.load(file)
    del content["settings"]["objective"]
    files.save(file, content)
    fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_run_in_pieces_ends_with_the_same_bits(make_data, tmp_path, keep):
    data, whole, options = make_data(), fresh(), dict(keep=keep, **OPTIONS)
    history = fit(whole, data, CrossEntropy(), **options)
    for until in (1, 3, 3, None):
        student = fresh()  # a new process would have no other
        part = fit(
            student, data, CrossEntropy(), checkpoint=tmp_path / "run.pt", until=until, **options
        )
        assert len(part.records) == (until or 4)
    assert digest(student) == digest(whole)
    assert [record["loss"] for record in part.records] == [
        record["loss"] for record in history.records
    ]


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


@pytest.mark.parametrize("until", [0, 5, 1.5])
def test_until_is_an_epoch_of_the_run(make_data, tmp_path, until):
    with pytest.raises(UsageError, match="until=.*from 1 to epochs=4"):
        fit(
            fresh(),
            make_data(),
            CrossEntropy(),
            checkpoint=tmp_path / "run.pt",
            until=until,
            **OPTIONS,
        )


def test_until_needs_a_checkpoint(make_data):
    with pytest.raises(UsageError, match="until=2: .*and checkpoint="):
        fit(fresh(), make_data(), CrossEntropy(), until=2, **OPTIONS)


def test_a_checkpoint_of_other_data_is_refused(make_data, tmp_path):
    file = tmp_path / "run.pt"
    fit(fresh(), make_data(), CrossEntropy(), checkpoint=file, **OPTIONS)
    with pytest.raises(CheckpointError, match="another run: data"):
        fit(fresh(), make_data(seed=1), CrossEntropy(), checkpoint=file, **OPTIONS)


def test_bfloat16_only_where_the_hardware_has_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("auto", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert resolve_precision("auto", cpu) == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older versions of torch
    assert resolve_precision("auto", cpu) == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_train(make_data, precision):
    options = {
        **OPTIONS,
        "epochs": 12,
        "optimizer": partial(adamw, lr=0.03),
        "precision": precision,
    }
    history = fit(fresh(), make_data(), CrossEntropy(), **options)
    assert history.precision == precision
    assert history.frame()["val_accuracy"].iloc[-1] > 80


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


def test_max_steps_is_part_of_what_a_checkpoint_belongs_to(make_data, tmp_path):
    data, options = make_data(), {**OPTIONS, "max_steps": 12, "keep": "best"}
    whole, resumed, again = fresh(), fresh(), fresh(seed=1)
    fit(whole, data, CrossEntropy(), **options)
    options["checkpoint"] = tmp_path / "run.pt"
    for until in (1, None):
        history = fit(resumed, data, CrossEntropy(), until=until, **options)
    fit(again, data, CrossEntropy(), **options)  # finished: read, not trained
    assert digest(resumed) == digest(whole) == digest(again) and len(history.records) == 3
    with pytest.raises(CheckpointError, match="max_steps was 12, is now None"):
        fit(fresh(), data, CrossEntropy(), **{**options, "max_steps": None})


def test_max_steps_is_checked(make_data):
    with pytest.raises(UsageError, match="max_steps=0"):
        fit(fresh(), make_data(), CrossEntropy(), **{**OPTIONS, "max_steps": 0})


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
