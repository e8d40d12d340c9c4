"""Kept answers when a process is killed, and when two fill the same views.

The processes are forks, which start at once, because PyTorch is imported already.
"""

import multiprocessing
import time

import torch
from test_teacher import batches, fresh, views
from toy_data import toy_data

from kdcourse.distillation import CachedTeacher, Teacher


class Slow(CachedTeacher):
    def _answers(self, *arguments):
        time.sleep(0.1)
        return super()._answers(*arguments)


def fill() -> None:
    Slow(fresh(1)).fill(batches(toy_data().train, views=6), progress=False)


def start_filling() -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=fill)
    process.start()
    return process


def check_views(folder) -> None:
    """All six views are there, whole, and right."""
    teacher, live = CachedTeacher(fresh(1)), Teacher(fresh(1))
    for epoch in range(6):
        for batch in batches(toy_data().train, views=6).epoch(epoch):
            torch.testing.assert_close(teacher(batch), live(batch), rtol=1e-3, atol=1e-3)
    assert teacher.computed == 0 and len(views(folder)) == 6


def test_a_killed_fill_goes_on_where_it_was(folder):
    train = toy_data().train
    process = start_filling()
    while process.is_alive() and len(views(folder)) < 2:
        time.sleep(0.01)
    process.kill()
    process.join()
    done = len(views(folder))
    assert 2 <= done < 6
    again = CachedTeacher(fresh(1))
    again.fill(batches(train, views=6), progress=False)
    assert again.computed == (6 - done) * len(train)
    check_views(folder)


def test_two_processes_at_once(folder):
    """Both answer the same views at the same time; the first to finish one has its folder."""
    process = start_filling()
    fill()
    process.join(timeout=60)
    assert process.exitcode == 0
    check_views(folder)
    assert not list(folder.glob("*/*.partial"))
