"""Two processes do what one does. `torchrun` starts them once for most of the tests: that takes
longer than they do.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from toy_data import toy_data

from kdcourse.common.errors import KDCourseError, UsageError
from kdcourse.data import AUGMENTATIONS, Batches
from kdcourse.distillation import (
    CachedTeacher,
    CrossEntropy,
    FitNets,
    ResponseKD,
    ReviewKD,
    Teacher,
)
from kdcourse.models import thin_resnet
from kdcourse.training import checkpoint as files
from kdcourse.training import distributed, fit

# of weights and buffers, absolute; of what the History holds ten times that, relative. float32
TOLERANCE = 1e-5
HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

DATA = toy_data(count=121)  # 73 of them to train on
OPTIONS = dict(
    epochs=4,
    batch_size=16,
    augment="satellite",
    seed=3,
    progress=False,
    device="cpu",
    precision="float32",
)  # a last batch of 9: shares of 5 and 4
LONG = {**OPTIONS, "epochs": 6}


def network(seed=0, depth=8, width=4):
    torch.manual_seed(seed)
    return thin_resnet(depth, width, channels=3, classes=3)


def without_batch_norm(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )


def drawn(epoch):
    """A sampler that no two processes agree on."""
    return np.random.default_rng([distributed.rank(), epoch]).integers(len(DATA.train), size=45)


def large():
    return network(seed=9, depth=14)


CASES = {  # student, objective, what differs from OPTIONS
    "labels": (without_batch_norm, CrossEntropy, {}),
    "sampler": (without_batch_norm, CrossEntropy, dict(sampler=drawn)),
    "response": (
        network,
        lambda: ResponseKD(CachedTeacher(large())),
        dict(views=2, clip=1.0, batch_size=18),
    ),
    "hint": (network, lambda: FitNets(Teacher(large()), "layer2", "layer2"), dict(keep="best")),
    "features alone": (
        network,
        lambda: ReviewKD(
            Teacher(large()), ["layer2", "layer3"], ["layer2", "layer3"], label_weight=0
        ),
        {},
    ),
}


def train(name, **more):
    """The student, the objective's own state and the History of a case."""
    student, objective, options = CASES[name]
    student, objective = (
        student(seed=distributed.rank()),
        objective(),
    )  # the first process' weights are the start
    history = fit(student, DATA, objective, **{**OPTIONS, **options, **more})
    return dict(
        student=student.state_dict(), objective=objective.state_dict(), records=history.records
    )


class Breaks(CrossEntropy):
    """At the seventh step, in the second process alone."""

    step = 0

    def forward(self, student, batch):
        self.step += 1
        terms = super().forward(student, batch)
        broken = self.step == 7 and distributed.rank() == 1
        return {"label": float("nan") * terms["label"]} if broken else terms


class Slow(CrossEntropy):
    def _get_name(self):  # to a checkpoint it is the objective that goes on
        return "CrossEntropy"

    def forward(self, student, batch):
        time.sleep(0.1)
        return super().forward(student, batch)


def message(call) -> str:
    try:
        call()
    except KDCourseError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def work(folder):
    """What each process of the fixture `two` does."""
    torch.set_num_threads(1)
    distributed.join()
    rank = distributed.rank()
    own = folder / f"machine{rank}"  # as on two machines that share no folder
    heard = []
    results = {name: train(name) for name in CASES}
    results["from one"] = train("hint", checkpoint=own / "from_one.pt", on_epoch=heard.append)
    results["to one"] = train("hint", checkpoint=own / "to_one.pt", until=2)
    results["heard"] = heard
    results["not finite"] = message(lambda: fit(network(), DATA, Breaks(), **OPTIONS))
    results["damaged"] = message(lambda: train("hint", checkpoint=own / "damaged.pt"))
    torch.save(results, folder / f"rank{rank}.pt")
    fit(network(), DATA, Slow(), checkpoint=own / "interrupted.pt", **LONG)


SCRIPT = """
import sys
sys.path[:0] = {path}
from pathlib import Path
from test_distributed import work
work(Path({folder!r}))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes have done, started and then interrupted as a user does: their results, the
    folder, and how `torchrun` ended.
    """
    folder = tmp_path_factory.mktemp("two")
    first = folder / "machine0"
    train("hint", checkpoint=first / "from_one.pt", until=2)
    (first / "damaged.pt").write_bytes(b"no checkpoint")
    script, said = folder / "script.py", folder / "stderr.txt"
    script.write_text(SCRIPT.format(path=[str(HERE), str(HERE.parent)], folder=str(folder)))
    environment = {**os.environ, "KDCOURSE_WORK": str(folder / "work"), "OMP_NUM_THREADS": "1"}
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [*TORCHRUN, script], env=environment, stderr=stderr, start_new_session=True
        )
        try:
            while process.poll() is None and not (first / "interrupted.pt").exists():
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)  # Ctrl-C
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (folder / "rank1.pt").exists(), said.read_text()
    return (
        [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)],
        folder,
        process.returncode,
    )


def same(got: dict, expected: dict) -> None:
    """The trained weights, buffers and History, within the tolerance."""
    for part in ("student", "objective"):
        assert list(got[part]) == list(expected[part])
        for name, value in expected[part].items():
            torch.testing.assert_close(got[part][name], value, rtol=0, atol=TOLERANCE)
    for one, other in zip(got["records"], expected["records"], strict=True):
        assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=10 * TOLERANCE)


def forked(rank: int, folder: Path) -> None:
    """One of two processes that meet through a file."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.save(train("hint", epochs=2), folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_forks_train_what_one_process_trains(tmp_path):
    """A fork starts in no time, because PyTorch is imported already."""
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=forked, args=(rank, tmp_path)) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0]
    for rank in (0, 1):
        same(torch.load(tmp_path / f"rank{rank}.pt"), train("hint", epochs=2))


@pytest.mark.slow
def test_two_processes_train_what_one_trains(two):
    for name in CASES:
        expected = train(name)
        for result in two[0]:
            same(result[name], expected)
        assert two[0][0][name]["records"] == two[0][1][name]["records"]  # to the bit, seconds too


def test_the_cases_leave_uneven_shares_and_one_process_without_images():
    assert (len(DATA.train) % 16, len(DATA.train) % 18) == (9, 1)


@pytest.mark.slow
def test_what_has_no_gradient_stays_as_it_was(two):
    """Weight decay alone would move it."""
    assert torch.equal(two[0][1]["features alone"]["student"]["fc.weight"], network().fc.weight)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_with_two(two):
    for result in two[0]:
        same(result["from one"], train("hint"))


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one(two):
    assert [len(result["to one"]["records"]) for result in two[0]] == [2, 2]
    same(train("hint", checkpoint=two[1] / "machine0" / "to_one.pt"), train("hint"))


@pytest.mark.slow
def test_the_first_process_alone_writes_and_calls(two):
    results, folder, _ = two
    assert results[0]["heard"] == results[0]["from one"]["records"][2:]
    assert results[1]["heard"] == []
    assert not (folder / "machine1").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_process_ends_all_with_the_message(two):
    for result in two[0]:
        assert result["not finite"].startswith(
            "TrainingError: epoch 2, batch 2: loss not finite (label = nan)"
        )


@pytest.mark.slow
def test_a_checkpoint_that_the_first_process_cannot_read_ends_all_with_the_message(two):
    for result in two[0]:
        assert result["damaged"].startswith("CheckpointError") and "machine0" in result["damaged"]


@pytest.mark.slow
def test_an_interrupt_ends_both_and_one_process_goes_on(two):
    _, folder, returncode = two
    file = folder / "machine0" / "interrupted.pt"
    assert returncode != 0 and not files.load(file)["finished"]
    student, whole = network(seed=1), network()
    fit(student, DATA, CrossEntropy(), checkpoint=file, **LONG)
    fit(whole, DATA, CrossEntropy(), **LONG)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_two_processes_fill_the_same_views(two):
    kept = list((two[1] / "work" / "answers").glob("*/*"))
    assert sorted(view.name for view in kept) == ["view-000", "view-001"]


def test_a_view_that_another_process_has_filled_meanwhile_is_taken(work, monkeypatch):
    monkeypatch.setenv("KDCOURSE_WORK", str(work / "meanwhile"))

    class Late(CachedTeacher):
        def _answers(self, batches, count):
            if count == len(DATA.train):
                CachedTeacher(self.network).fill(views, progress=False)
            return super()._answers(batches, count)

    views = Batches(DATA.train, 16, seed=0, augment=AUGMENTATIONS["satellite"], views=2)
    late = Late(large())
    late.fill(views, progress=False)
    batch = next(views.epoch(1))
    torch.testing.assert_close(late(batch), Teacher(late.network)(batch), rtol=0, atol=0.01)
    assert not list((work / "meanwhile").rglob("*.partial"))


def test_the_shares_make_up_the_batch(monkeypatch):
    for processes in [1, 2, 3]:
        for batch_size in [16, 18, 72]:
            options = dict(seed=0, augment=AUGMENTATIONS["satellite"])
            monkeypatch.setattr(distributed, "world", lambda count=processes: count)
            monkeypatch.setattr(
                distributed, "from_first", lambda function, *arguments: function(*arguments)
            )
            shares = []
            for rank in range(processes):
                monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
                share = distributed.Share(DATA.train, batch_size, **options)
                shares.append(
                    [(batch, share.counted, share.images, share.weight) for batch in share.epoch(1)]
                )
            for number, whole in enumerate(Batches(DATA.train, batch_size, **options).epoch(1)):
                parts, counted, images, weights = zip(
                    *(share[number] for share in shares), strict=True
                )
                assert (
                    set(images) == {len(whole)}
                    and sum(counted) == len(whole)
                    and max(counted) - min(counted) <= 1
                )
                assert sum(weights) == pytest.approx(processes)
                for rank, part in enumerate(parts):
                    assert len(part) == max(counted[rank], 1)
                    assert torch.equal(part.images[: counted[rank]], whole.images[rank::processes])


def test_batch_norm_over_one_share_is_batch_norm(monkeypatch):
    for norm, shape in [
        (nn.BatchNorm2d(5), (6, 5, 3, 4)),
        (nn.BatchNorm1d(5), (6, 5)),
        (nn.BatchNorm1d(5, momentum=None), (6, 5, 7)),
        (nn.BatchNorm3d(5, affine=False), (6, 5, 2, 3, 4)),
        (nn.BatchNorm2d(5, track_running_stats=False), (6, 5, 3, 4)),
    ]:
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
        share = SimpleNamespace(images=6, counted=6)
        forms = (norm, partial(distributed.global_batch_norm, norm, share))
        start, seen = {k: v.clone() for k, v in norm.state_dict().items()}, []
        for forward in forms:
            norm.load_state_dict(start)
            norm.zero_grad()
            torch.manual_seed(0)
            for _ in range(2):
                x = torch.randn(shape, requires_grad=True)
                y = forward(x)
                (y * torch.randn(shape)).sum().backward()
            gradients = [parameter.grad.clone() for parameter in norm.parameters()]
            seen.append([y, x.grad, *gradients, *(v.clone() for v in norm.state_dict().values())])
        for expected, got in zip(*seen, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_of_a_single_value_is_refused():
    with pytest.raises(ValueError, match="more than 1 value"):
        distributed.global_batch_norm(
            nn.BatchNorm1d(5), SimpleNamespace(images=1, counted=0), torch.ones(1, 5)
        )


def test_devices_that_cannot_be_had_are_said(monkeypatch):
    for device, says in [("mps", "device=mps"), ("cuda", "--nproc-per-node 2")]:
        monkeypatch.setattr(distributed, "world", lambda: 4)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setenv("LOCAL_RANK", "3")
        with pytest.raises(UsageError, match=says):
            distributed.own_device(torch.device(device))
