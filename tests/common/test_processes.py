"""The pool of processes: results, messages, processes that die or take too long."""

import os
import signal
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from kdcourse.common import processes
from kdcourse.common.processes import Failure, Message, Place, Pool, Result

PATIENCE = 60  # s, for a busy machine


def count(place: Place, upto: int) -> int:
    for number in range(upto):
        place.send(number)
    return upto


def surroundings(place: Place) -> tuple[int, str | None]:
    time.sleep(0.2)  # so that the tasks overlap
    return place.slot, os.environ.get("KDCOURSE_TEST")


def dies(place: Place, file: Path, times: int) -> str:
    """Kill this process, the first `times` times."""
    with file.open("a") as starts:
        starts.write("x")
    if file.stat().st_size <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def sleeps(place: Place) -> None:
    place.send(os.getpid())
    time.sleep(600)


def raises(place: Place) -> None:
    raise ValueError("of this test, with a traceback on the terminal")


@pytest.fixture(scope="module", autouse=True)
def own_forkserver():
    """Later tests start another, which preloads what they need."""
    yield
    forkserver._forkserver._stop()


@pytest.fixture
def pool():
    """`pool(jobs, **options)`: a Pool that is closed after the test."""
    made = []

    def make(*arguments, **options) -> Pool:
        made.append(Pool(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def all_events(of: Pool) -> list:
    found, end = [], time.monotonic() + PATIENCE
    while of.busy:
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain"
        found += of.events(0.5)
    return found


def test_messages_come_in_order_before_the_result(pool):
    workers = pool(1)
    workers.submit("a", count, 3)
    *messages, result = all_events(workers)
    assert messages == [Message("a", number) for number in range(3)]
    assert (result.key, result.value) == ("a", 3) and result.seconds > 0


def test_tasks_have_a_slot_of_their_own_and_see_the_present_environment(pool, monkeypatch):
    workers = pool(2)
    for value in ("one", "two"):  # the second is later than the start of the forkserver
        monkeypatch.setenv("KDCOURSE_TEST", value)
        for key in "ab":
            assert workers.free
            workers.submit(key, surroundings)
        assert not workers.free
        values = {event.key: event.value for event in all_events(workers)}
        assert values == {"a": (0, value), "b": (1, value)}


def test_a_task_whose_process_dies_is_started_again(pool, tmp_path):
    workers = pool(2, attempts=3)
    workers.submit("twice", dies, tmp_path / "twice", 2)
    workers.submit("always", dies, tmp_path / "always", 9)
    events = {event.key: event for event in all_events(workers)}
    assert isinstance(events["twice"], Result) and events["twice"].value == "alive"
    failure = events["always"]
    assert isinstance(failure, Failure) and (failure.exit_code, failure.late) == (-9, False)
    assert (tmp_path / "always").read_text() == "xxx"


def test_a_task_that_raises_is_a_failure_with_exit_code_1(pool):
    workers = pool(1)
    workers.submit("a", raises)
    (failure,) = all_events(workers)
    assert isinstance(failure, Failure) and failure.exit_code == 1


def test_a_task_that_takes_too_long_is_ended(pool):
    workers = pool(1, time_limit=1.0)
    workers.submit("a", sleeps)
    message, failure = all_events(workers)
    assert isinstance(failure, Failure) and failure.late and failure.seconds >= 1
    assert not psutil.pid_exists(message.content)


def test_close_ends_everything(pool):
    workers = pool(2)
    for key in "ab":
        workers.submit(key, sleeps)
    messages, end = [], time.monotonic() + PATIENCE
    while len(messages) < 2 and time.monotonic() < end:
        messages += workers.events(0.5)
    workers.close()
    assert not workers.busy and len({message.content for message in messages}) == 2
    assert not any(psutil.pid_exists(message.content) for message in messages)


def test_ctrl_c_waits_until_a_process_is_started():
    if not hasattr(signal, "pthread_sigmask"):
        pytest.skip("this system cannot hold signals back")
    got = []
    before = signal.signal(signal.SIGINT, lambda *_: got.append(True))
    try:
        with processes._ctrl_c_held():
            # To this thread: another one, such as tqdm's, would take the process's signal.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert not got
        assert got
    finally:
        signal.signal(signal.SIGINT, before)
