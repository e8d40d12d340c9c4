"""Checkpoints of a run: what stops and goes on ends with the same bits."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from test_fit import OPTIONS, Adapted, Stopper, fresh
from torch import nn
from toy_data import toy_data

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.distillation import CrossEntropy, ResponseKD, Teacher
from kdcourse.training import checkpoint as files
from kdcourse.training import fit
from kdcourse.training.checkpoint import digest


@pytest.mark.parametrize(("step", "keep"), [(1, "last"), (6, "best"), (17, "best")])  # 5 an epoch
def test_a_stopped_run_goes_on_to_the_same_bits(make_data, tmp_path, step, keep):
    """In the first epoch, at a border, in the last."""
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


class Slow(CrossEntropy):
    def _get_name(self):  # to a checkpoint it is the objective that goes on
        return "CrossEntropy"

    def forward(self, student, batch):
        time.sleep(0.01)
        return super().forward(student, batch)


def train_slowly(file: Path) -> None:
    fit(fresh(), toy_data(), Slow(), checkpoint=file, **{**OPTIONS, "epochs": 8})


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again(tmp_path):
    """SIGKILL leaves no time to tidy up: the file on disk must be whole, and the end must be the
    same bits.
    """
    whole, last = fresh(), fresh()
    # before the forks, so that they find all that PyTorch imports for a first training
    fit(whole, toy_data(), CrossEntropy(), **{**OPTIONS, "epochs": 8})
    file, moments, kills, resumed = tmp_path / "run.pt", random.Random(20261120), 0, 0
    while True:
        resumed += file.exists()
        child = multiprocessing.get_context("fork").Process(target=train_slowly, args=(file,))
        child.start()
        if kills < 4:
            child.join(timeout=moments.uniform(0.1, 0.6))
            child.kill()
        child.join(timeout=120)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 1 and resumed >= 1
    last.load_state_dict(files.load(file)["student"])
    assert digest(last) == digest(whole), f"after {kills} kills the weights differ"


def test_interrupting_leaves_a_checkpoint_and_a_usable_network(make_data, tmp_path):
    file, model = tmp_path / "run.pt", fresh()
    with pytest.raises(KeyboardInterrupt):
        fit(model, make_data(), Stopper(8), checkpoint=file, **OPTIONS)
    assert len(torch.load(file, weights_only=True)["history"]) == 1
    assert not model.training
    assert torch.isfinite(model(torch.zeros(2, 3, 8, 8))).all()


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


class StoppedAdapted(Adapted):
    at, step = 8, 0

    def _get_name(self):
        return "Adapted"

    def forward(self, student, batch):
        self.step += 1
        if self.step == self.at:
            raise KeyboardInterrupt
        return super().forward(student, batch)


@pytest.mark.parametrize("step", [8])
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


@pytest.mark.parametrize("keep", ["best"])
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
