"""Kept answers: those of the live teacher, and never another's."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_teacher import AUGMENT, HALF, OPTIONS, batches, first, fresh, views
from torch import nn

from kdcourse.common.errors import CheckpointError, UsageError
from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import (
    CachedTeacher,
    Combined,
    CrossEntropy,
    FitNets,
    ResponseKD,
    Teacher,
)
from kdcourse.evaluation.metrics import predict
from kdcourse.training import adamw, fit
from kdcourse.training.checkpoint import digest


def test_a_step_has_the_loss_of_the_live_teacher(make_data, folder):
    """Logits agree to half precision's rounding, the loss to 0.1 %, in float32; whoever asked
    first.
    """
    data, network, student = make_data(), fresh(1), fresh().eval()
    with torch.no_grad():
        network[6].weight.mul_(20)  # logits of some size
    live, kept, shown = Teacher(network), CachedTeacher(network), batches(data.train)
    for epoch in range(5):
        for batch in shown.epoch(epoch):
            expected, logits = live(batch), kept(batch)
            assert logits.dtype == torch.float32 and logits.shape == expected.shape
            bound = HALF * expected.abs().max().item() + 1e-5
            assert (logits - expected).abs().max() <= bound
            one, two = (sum(ResponseKD(t)(student, batch).values()).item() for t in (live, kept))
            assert two == pytest.approx(one, rel=1e-3)
    assert kept.computed == 2 * len(data.train)  # each view once
    assert kept.served == 2 * 5 * len(data.train)
    assert 0 < kept.rounding_error <= HALF * 20
    assert (
        kept.nbytes
        == sum(file.stat().st_size for file in folder.glob("*/*/answers.npy"))
        > 2 * 3 * len(data.train)
    )


def test_what_is_kept_does_not_depend_on_who_asked(make_data, tmp_path, monkeypatch):
    data, files = make_data(), []
    for name, size, seed in (("a", 16, 3), ("b", 5, 8)):
        monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / name))
        teacher, sizes = CachedTeacher(fresh(1)), []
        teacher.network.register_forward_hook(
            lambda network, images, logits, sizes=sizes: sizes.append(len(logits))
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "b"):
            teacher(next(Batches(data.train, size, seed=seed, augment=AUGMENT, views=2).epoch(3)))
        files.append(
            [
                (f.relative_to(tmp_path / name), f.read_bytes())
                for f in views(tmp_path / name / "answers")[0].iterdir()
            ]
        )
        assert sizes == [
            len(data.train),
            16,
        ]  # all of them together, then some to compare: whatever the batch size
    assert sorted(files[0]) == sorted(files[1])


def test_a_second_run_and_other_seeds_compute_nothing(make_data, folder):
    data = make_data()
    CachedTeacher(fresh(1)).fill(batches(data.train), progress=False)
    assert [view.name for view in views(folder)] == ["view-000", "view-001"]
    again = CachedTeacher(fresh(1))
    for seed in (0, 1):
        for epoch in range(3):
            for batch in batches(data.train, seed=seed).epoch(epoch):
                again(batch)
    assert again.computed == 0 and again.served == 6 * len(data.train)


def test_unaugmented_images_are_one_view(make_data, folder):
    data, teacher = make_data(), CachedTeacher(fresh(1))
    for epoch in range(3):
        for batch in Batches(data.train, 16, seed=0).epoch(epoch):
            teacher(batch)
    assert teacher.computed == len(data.train) and len(views(folder)) == 1
    expected, _ = predict(teacher.network, data.val)
    kept = torch.cat([teacher(batch) for batch in Batches(data.val, 10).epoch()])
    torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-3)


def test_features_come_from_the_live_teacher(make_data, folder):
    data, network = make_data(), fresh(1)
    seen = CachedTeacher(network).forward_with_features(first(data.train), ["2"])
    expected = Teacher(network).forward_with_features(first(data.train), ["2"])
    assert torch.equal(seen.logits, expected.logits) and torch.equal(
        seen.features["2"], expected.features["2"]
    )
    assert not folder.exists()


class Inverted(Augmentation):
    """An augmentation of one's own, which calls itself what it was made from."""

    def __call__(self, images, draws):
        return 255 - super().__call__(images, draws)

    def __repr__(self):
        return repr(Augmentation(self.symmetries, self.pad, self.jitter))


def mixed(batch):
    return replace(batch, images=0.7 * batch.images + 0.3 * batch.images.flip(0))


@pytest.mark.parametrize(
    "asked",
    [
        lambda split: first(split, views=None),
        lambda split: first(split, augment=Inverted("square", pad=1, jitter=0.1)),
        lambda split: first(replace(split, fingerprint="")),
        lambda split: mixed(first(split)),
    ],
    ids=[
        "views of its own each epoch",
        "an unknown augmentation",
        "data without fingerprint",
        "mixed images",
    ],
)
def test_where_nothing_may_be_kept_the_live_teacher_answers(make_data, folder, asked):
    train, network = make_data().train, fresh(1)
    teacher = CachedTeacher(network)
    teacher.fill(batches(train), progress=False)
    batch, computed = asked(train), teacher.computed
    assert torch.equal(teacher(batch), Teacher(network)(batch))
    assert teacher.computed == computed + len(batch) and teacher.served == 0
    assert len(views(folder)) == 2


def test_fill_says_why_it_cannot(make_data):
    with pytest.raises(UsageError, match="views of these batches are not repeated"):
        CachedTeacher(fresh(1)).fill(batches(make_data().train, views=None))


OTHERS = {
    "teacher": lambda data: (fresh(2), batches(data().train)),
    "data": lambda data: (fresh(1), batches(data(seed=1).train)),
    "size": lambda data: (fresh(1), batches(data(size=10).train)),
    "augmentation": lambda data: (
        fresh(1),
        batches(data().train, augment=Augmentation("square", pad=2)),
    ),
    "no augmentation": lambda data: (fresh(1), batches(data().train, augment=None)),
    "split": lambda data: (fresh(1), batches(data().val, augment=None)),
    "subset": lambda data: (fresh(1), batches(data().train.subset(np.arange(60)))),
    "order": lambda data: (fresh(1), batches(data().train.subset(np.arange(72)[::-1]))),
    "normalisation": lambda data: (fresh(1), batches(replace(data().train, mean=data().mean + 30))),
}


@pytest.mark.parametrize("what", OTHERS)
def test_answers_of_another_are_never_served(make_data, folder, what):
    CachedTeacher(fresh(1)).fill(batches(make_data().train), progress=False)
    network, asked = OTHERS[what](make_data)
    teacher, live = CachedTeacher(network), Teacher(network)
    for batch in asked.epoch(1):
        torch.testing.assert_close(teacher(batch), live(batch), rtol=1e-3, atol=1e-3)
    assert teacher.computed == len(asked.split)  # answered afresh, beside the others
    assert len(views(folder)) == 3


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_of_another_in_its_place_is_refused(make_data, folder, what):
    """As when files are copied by hand. The description tells."""
    CachedTeacher(fresh(1)).fill(batches(make_data().train), progress=False)
    network, asked = OTHERS[what](make_data)
    kept, teacher = folder / next(folder.iterdir()).name, CachedTeacher(network)
    place = folder / f"{Teacher(network).fingerprint}-{asked.repeated}"
    shutil.copytree(kept, place)
    with pytest.raises(
        CheckpointError, match=r"view-00\d: kept for another (teacher|batches).*Remove the folder"
    ):
        teacher(next(asked.epoch(0)))


def test_weights_that_change_are_another_teacher(make_data, folder):
    data, network = make_data(), fresh(1)
    teacher, shown = CachedTeacher(network), batches(data.train)
    teacher(next(shown.epoch(0)))
    network.load_state_dict(fresh(2).state_dict())
    batch = next(shown.epoch(2))  # the same view, the next epoch that shows it
    torch.testing.assert_close(teacher(batch), Teacher(network)(batch), rtol=1e-3, atol=1e-3)


def test_images_changed_under_the_same_fingerprint_are_noticed(make_data, folder):
    train = make_data().train
    CachedTeacher(fresh(1)).fill(batches(train), progress=False)
    noisy = replace(train, images=255 - train.images)
    with pytest.raises(CheckpointError, match="not this teacher's answers to these images"):
        CachedTeacher(fresh(1))(first(noisy))


def test_a_network_whose_code_changed_is_noticed(make_data, folder):
    train = make_data().train
    CachedTeacher(fresh(1)).fill(batches(train), progress=False)
    network = fresh(1)
    network[6].forward = lambda x: (
        nn.functional.linear(x, network[6].weight) * 2
    )  # the same name and weights
    with pytest.raises(CheckpointError, match="not this teacher's answers"):
        CachedTeacher(network)(first(train))


def cut_short(view):
    os.truncate(view / "answers.npy", 150)


def flip_a_bit(view):
    content = bytearray((view / "answers.npy").read_bytes())
    content[-9] ^= 4
    (view / "answers.npy").write_bytes(content)


def other_type(view):
    np.save(view / "answers.npy", np.load(view / "answers.npy").astype(np.float32))


def other_shape(view):
    np.save(view / "answers.npy", np.load(view / "answers.npy")[:-1])


def other_numbers(view):
    """The whole description is right, and the answers are not."""
    import zlib

    answers = np.load(view / "answers.npy")[:, ::-1].copy()
    np.save(view / "answers.npy", answers)
    meta = json.loads((view / "meta.json").read_text())
    (view / "meta.json").write_text(json.dumps({**meta, "checksum": zlib.crc32(answers)}))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        flip_a_bit,
        other_type,
        other_shape,
        other_numbers,
        lambda view: (view / "meta.json").write_text("{"),
        lambda view: (view / "meta.json").write_text("[]"),
        lambda view: (view / "meta.json").write_text("{}"),
        lambda view: (view / "meta.json").unlink(),
        lambda view: (view / "answers.npy").unlink(),
        lambda view: (view / "answers.npy").write_bytes(b""),
        lambda view: (view / "answers.npy").write_bytes(b"nothing of the sort"),
    ],
)
def test_damaged_answers_are_refused_and_answered_anew_once_removed(make_data, folder, damage):
    train = make_data().train
    CachedTeacher(fresh(1)).fill(batches(train), progress=False)
    damage(views(folder)[0])
    with pytest.raises(
        CheckpointError, match=r"view-000: (damaged|these are not).*Remove the folder"
    ):
        CachedTeacher(fresh(1))(first(train))
    shutil.rmtree(views(folder)[0])
    teacher = CachedTeacher(fresh(1))
    teacher(first(train))
    assert teacher.computed == len(train)  # one view of the two


@pytest.mark.parametrize("value", [70_000.0, float("nan"), float("inf")])
def test_logits_that_half_precision_cannot_hold(make_data, folder, value):
    network = fresh(1)
    with torch.no_grad():
        network[6].bias[1] = value
    with pytest.raises(UsageError, match="half precision ends at 65,504"):
        CachedTeacher(network)(first(make_data().train))
    assert not views(folder)


def test_a_full_disk_is_said_and_leaves_nothing(make_data, folder, monkeypatch):
    def full(file, array):
        Path(file).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        CheckpointError,
        match=r"could not be written.*No space left.*432 bytes a view.*KDCOURSE_WORK",
    ):
        CachedTeacher(fresh(1))(first(make_data().train))
    assert not [file for file in folder.rglob("*") if file.is_file()]
    assert not list(folder.glob("*/*"))


def test_forget_removes_this_teachers_answers_alone(make_data, folder):
    train, teacher, other = make_data().train, CachedTeacher(fresh(1)), CachedTeacher(fresh(2))
    for each in (teacher, other):
        each.fill(batches(train), progress=False)
    teacher.forget()
    assert teacher.nbytes == 0 < other.nbytes and len(views(folder)) == 2
    teacher(first(train))
    assert teacher.computed == 3 * len(train)


class Stopped(ResponseKD):
    """Ctrl-C at the given step."""

    at, step = 8, 0

    def _get_name(self):  # to a checkpoint it is the objective that goes on
        return "ResponseKD"

    def forward(self, student, batch):
        self.step += 1
        if self.step == self.at:
            raise KeyboardInterrupt
        return super().forward(student, batch)


def test_a_stopped_run_goes_on_to_the_same_bits(make_data, folder, tmp_path):
    """Stopped while the second epoch's view is used: five batches an epoch."""
    data, whole, file = make_data(), fresh(), tmp_path / "run.pt"
    fit(whole, data, ResponseKD(CachedTeacher(fresh(1))), **OPTIONS)
    CachedTeacher(fresh(1)).forget()
    objective = Stopped(CachedTeacher(fresh(1)))
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), data, objective, checkpoint=file, **OPTIONS)
    resumed = fresh()
    fit(resumed, data, ResponseKD(CachedTeacher(fresh(1))), checkpoint=file, **OPTIONS)
    assert digest(resumed) == digest(whole)


def test_filling_draws_no_random_numbers(make_data, folder):
    """A run that fills the views ends with the bits of one that finds them filled."""
    digests = []
    for _ in range(2):
        student = fresh()
        fit(student, make_data(), ResponseKD(CachedTeacher(fresh(1))), **OPTIONS)
        digests.append(digest(student))
    assert digests[0] == digests[1]


def test_with_hints_the_teacher_runs_live_and_the_student_learns(make_data, folder):
    data, teacher = make_data(), CachedTeacher(fresh(1))
    hints = partial(FitNets, teacher, "2", "2", label_weight=0)
    objective = Combined([partial(ResponseKD, teacher), hints], [1, 1])
    history = fit(
        fresh(), data, objective, **{**OPTIONS, "epochs": 2, "optimizer": partial(adamw, lr=0.03)}
    )
    assert teacher.served == 0 and {"soft", "label", "hint"} <= set(history.frame().columns)


def test_a_student_learns_from_kept_answers_as_from_live_ones(make_data, folder):
    data, network = make_data(), fresh(1)
    fit(
        network,
        data,
        CrossEntropy(),
        **{**OPTIONS, "epochs": 12, "optimizer": partial(adamw, lr=0.03)},
    )
    losses = []
    for kind in (Teacher, CachedTeacher):
        history = fit(
            fresh(),
            data,
            ResponseKD(kind(network)),
            **{
                **OPTIONS,
                "epochs": 12,
                "optimizer": partial(adamw, lr=0.03),
                "precision": "float32",
            },
        )
        losses.append(history.frame()["loss"])
        assert history.frame()["val_accuracy"].iloc[-1] > 80  # chance is 33
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_cuda(make_data, folder):
    teacher = CachedTeacher(fresh(1)).to("cuda")
    for batch in batches(make_data().train, device="cuda").epoch(1):
        torch.testing.assert_close(teacher(batch), Teacher(teacher)(batch), rtol=1e-2, atol=1e-2)
    assert CachedTeacher(fresh(1))(first(make_data().train)).device.type == "cpu"
