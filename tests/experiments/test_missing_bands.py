"""A teacher of thirteen bands and a student of three: who sees what."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.distillation import CrossEntropy, ResponseKD
from kdcourse.experiments.grid import Run
from kdcourse.experiments.missing_bands import (
    ALL,
    BY_ALL,
    BY_THREE,
    TAUGHT_BY,
    TEACHER_OF_THREE,
    THREE,
    Bands,
    SomeBands,
    with_bands,
)
from kdcourse.experiments.registry import experiment_class
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results

CPU = Bands(profile("cpu"), datasets=("scenes",), seeds=1)


@pytest.fixture
def data(make_data):
    return make_data(count=60, channels=13, size=16)


def seen_by(network) -> list[int]:
    """The channels that an answer depends on."""
    images = torch.zeros(1, 13, 16, 16, requires_grad=True)
    network.eval()(images + torch.randn(1, 13, 16, 16)).sum().backward()
    return images.grad.abs().sum((0, 2, 3)).nonzero().flatten().tolist()


def test_who_sees_what_and_who_teaches(data):
    assert experiment_class("bands") is Bands
    torch.manual_seed(0)
    teachers = {
        name: CPU.recipe(Run("scenes", name, 0), data, []).model()
        for name in ("teacher", TEACHER_OF_THREE)
    }
    assert seen_by(teachers["teacher"]) == list(range(13)) and seen_by(
        teachers[TEACHER_OF_THREE]
    ) == [1, 2, 3]
    for run in CPU.runs():
        if not run.needs:
            continue
        network = teachers[run.needs[0].arm]
        recipe = CPU.recipe(run, data, [network])
        assert seen_by(recipe.model()) == (list(range(13)) if run.arm == ALL else [1, 2, 3])
        objective = recipe.objective()
        assert type(objective) is (ResponseKD if run.arm in (BY_THREE, BY_ALL) else CrossEntropy)
        if run.arm in (BY_THREE, BY_ALL):
            assert objective.teacher.network is network
    assert (TAUGHT_BY[BY_THREE], TAUGHT_BY[BY_ALL]) == (TEACHER_OF_THREE, "teacher")


def test_no_teacher_is_trained_that_nobody_needs():
    runs = replace(CPU, methods=(BY_ALL,)).runs()
    assert [run.arm for run in runs] == ["teacher", THREE, BY_ALL]


def test_the_student_that_is_shipped_sees_three_bands_alone(data):
    student = SomeBands(lambda channels: torch.nn.Conv2d(channels, 2, 1), (3, 2, 1))
    three = with_bands(data)
    assert three.channels == ("band3", "band2", "band1") and three.train.images.shape[1] == 3
    raw, few = (
        torch.from_numpy(part.test.take([0, 1]).astype(np.float32)) for part in (data, three)
    )

    def normalised(images, part):
        return (images - torch.from_numpy(part.mean).view(-1, 1, 1)) / torch.from_numpy(
            part.std
        ).view(-1, 1, 1)

    torch.testing.assert_close(
        student.network(normalised(few, three)), student(normalised(raw, data))
    )


def test_three_bands_are_too_few(make_data):
    with pytest.raises(UsageError, match="3 bands; this experiment needs more than three"):
        CPU.recipe(Run("cifar10", "teacher", 0), make_data(channels=3), [])


def test_all_run(data, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Bands, "load", lambda self, name: data)
    progress = reproduce(
        Bands(profile("smoke"), datasets=("scenes",), seeds=1), tmp_path, in_process, echo=str
    )
    assert (progress.done, progress.failed) == (6, 0)
    frame = Results(tmp_path).frame().set_index("arm")
    assert frame.parameters[THREE] == frame.parameters[BY_ALL] < frame.parameters[ALL]
