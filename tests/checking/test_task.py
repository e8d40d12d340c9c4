"""Guarded calls, verdicts, and what a check shows; on toy tasks made here."""

import random
import threading

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from kdcourse.checking import expect, progress, safe_call
from kdcourse.checking.safe_call import PRINTED, call, look
from kdcourse.checking.task import Answer, AnswerPart, Wrong, task
from kdcourse.common.errors import UsageError


def make(judge, **settings):
    given = dict(
        title="Toy", minutes=1, difficulty="easy", points=1, hints=["look", "closer"], seconds=1.0
    )
    return task("ex04", **(given | settings))(judge)


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What was displayed. Progress goes to a folder of its own."""
    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path))
    seen = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    return seen


@pytest.fixture
def twice():
    def twice(answer, rng):
        """Twice x."""
        x = torch.randn(3, generator=rng)
        expect.close(answer(x), 2 * x, {"once": (x, "It is not doubled.")}, of="twice x")

    return make(twice)


def times_two(x):
    return 2 * x


# --- guarded calls --------------------------------------------------------------------------------


def test_value_is_plain_and_a_copy():
    kept = torch.ones(2, requires_grad=True)
    outcome = call(lambda: {"a": [kept, (np.float32(2), None)], "b": "c"})
    assert outcome.value["a"][0].requires_grad is False and outcome.value["a"][1] == (2, None)
    outcome.value["a"][0].add_(1)
    assert kept[0] == 1


@pytest.mark.parametrize("value", [nn.Linear(1, 1), object(), {1, 2}, np.array([object()]), [len]])
def test_what_is_no_plain_data_is_told(value):
    assert call(lambda: value).error[0] == "NotPlain"


def test_a_set_comes_without_an_order():
    assert look({"a", "c"}).value == {"a": True, "c": True}
    assert look({nn.Linear(1, 1)}).error[0] == "NotPlain"


def test_a_list_that_holds_itself_does_no_harm():
    endless = []
    endless.append(endless)
    assert call(lambda: endless).error[0] == "RecursionError"


def test_the_line_of_the_learners_code_is_told():
    def mine(x):
        y = x.reshape(7, 7)  # the line
        return y

    outcome = call(mine, (torch.zeros(3),))
    assert (
        outcome.error[0] == "RuntimeError" and "`y = x.reshape(7, 7)  # the line`" in outcome.line
    )


def test_a_loop_is_stopped_and_its_thread_ends():
    def loop():
        while True:
            try:
                pass
            except Exception:  # noqa: BLE001  the stop is no Exception
                pass

    before = threading.active_count()
    outcome = call(loop, seconds=0.2)
    assert outcome.stopped and not outcome.running and outcome.seconds < 5
    assert threading.active_count() == before


def test_what_cannot_be_stopped_is_said(monkeypatch):
    monkeypatch.setattr(safe_call, "GRACE", 0.1)
    wait = threading.Event()
    outcome = call(lambda: wait.wait(30), seconds=0.1)  # one call into C
    wait.set()
    assert outcome.stopped and outcome.running
    with pytest.raises(Wrong, match="restart the kernel"):
        answer = Answer("f")
        answer.run = lambda *_: outcome
        answer()


def test_printing_is_kept_from_the_page_and_bounded(capsys):
    outcome = call(lambda: [print("x" * 100) for _ in range(1000)] and 1)
    assert outcome.value == 1 and len(outcome.printed) == PRINTED
    assert capsys.readouterr().out == ""


def test_inputs_are_copies_and_changes_are_told():
    x, rows = torch.zeros(2), [1, 2]

    def spoils(a, b, *, c):
        a += 1
        c.append(3)

    outcome = call(spoils, (x, 5), {"c": rows})
    assert outcome.changed == (0, "c") and x.sum() == 0 and rows == [1, 2]
    nan = np.array([np.nan, 1])
    assert call(lambda a: a, (nan,)).changed == ()
    assert call(lambda a: a.fill(0), (nan,)).changed == (0,)


def test_a_network_is_made_there_and_its_state_told():
    def trains(network):
        network.eval()
        network.conv.weight.requires_grad_(False)
        network.relu.register_forward_hook(print)
        with torch.no_grad():
            network.linear.bias.fill_(7)
        network.linear(torch.ones(1, 6)).sum().backward()

    part = AnswerPart("tiny_network", (3, 2, 5))
    after = call(trains, (part,)).after[0]
    assert after["training"] is False and after["hooks"] == 1
    assert (
        after["gradients"] == ["linear.weight", "linear.bias"]
        and "conv.weight" not in after["trainable"]
    )
    assert (after["state"]["linear.bias"] == 7).all()
    fresh = call(lambda network: 0, (part,)).after[0]["state"]
    assert torch.equal(fresh["conv.weight"], after["state"]["conv.weight"]), (
        "the same seed, the same weights"
    )


def test_equal_answer_parts_are_one_object():
    part = AnswerPart("tiny_network", (0,))
    assert (
        call(lambda a, rest: a is rest[0], (part, [AnswerPart("tiny_network", (0,))])).value is True
    )


def test_the_gradient_of_a_returned_loss_is_told():
    x, y = torch.tensor([3.0], requires_grad=True), torch.tensor([5.0], requires_grad=True)
    after = call(lambda x, y: (x * y.detach()).sum(), (x, y)).after
    assert after[0]["gradient"] == 5 and after[1]["gradient"] is None
    assert call(lambda x: x.detach().sum(), (x,)).after[0]["gradient"] is None


def test_an_answer_part_that_cannot_be_made_is_no_fault_of_the_learner():
    with pytest.raises(KeyError):
        call(lambda x: x, (AnswerPart("nowhere"),))


# --- verdicts -------------------------------------------------------------------------------------


def test_right_and_wrong(twice):
    assert twice.verdict(times_two).right
    verdict = twice.verdict(lambda x: x, seed=1)
    assert verdict == twice.verdict(lambda x: x, seed=1), "a seed decides all"
    assert (
        not verdict.right
        and verdict.fault == "once"
        and verdict.message.startswith("It is not doubled.")
    )


def test_a_figure_and_what_was_printed_come_along():
    figure = Figure()
    figure.alt = "two lines"

    def judge(answer, rng):
        answer()
        raise Wrong("no", "fault", figure)

    verdict = make(judge).verdict(lambda: print("hello"))
    assert verdict.figure is figure and verdict.printed == "hello\n"


@pytest.mark.parametrize(
    "given, fault, word",
    [
        (None, "type", "without calling it"),
        (3, "type", "an int"),
        (lambda: 0, "raised", "arguments of the stub"),
        (lambda x: nn.Linear(1, 1), "type", "Linear"),
    ],
)
def test_what_is_no_function(twice, given, fault, word):
    verdict = twice.verdict(given)
    assert verdict.fault == fault and word in verdict.message


def test_torchs_own_not_implemented_is_no_stub(twice):
    def raises(x):
        raise NotImplementedError("'add' not implemented for 'Half'")

    assert twice.verdict(raises).fault == "raised"


def test_values():
    def judge(answer, rng):
        assert answer.value() == 3

    number = make(judge)
    assert number.verdict(3).right and number.verdict(None).fault == "stub"
    assert (
        number.verdict(times_two).fault == "type"
        and "a function" in number.verdict(times_two).message
    )
    assert number.verdict("x").fault == "unexpected"


def test_all_calls_of_a_verdict_share_the_time():
    def judge(answer, rng):
        for _ in range(1000):
            answer()

    def slow():
        for _ in range(10**6):
            pass

    verdict = make(judge, seconds=0.5).verdict(slow)
    assert verdict.fault == "time"


def test_random_generators_are_left_as_they_were(twice):
    def draws(x):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
        return 2 * x

    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    expected = torch.rand(()), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    assert twice.verdict(draws).right
    assert (torch.rand(()), np.random.rand(), random.random()) == expected  # noqa: NPY002


def test_grade_raises_with_the_message(twice):
    twice.grade(times_two)
    with pytest.raises(AssertionError, match="not doubled"):
        twice.grade(lambda x: x)


def test_a_task_is_made_with_care():
    with pytest.raises(UsageError, match="easy, medium, hard"):
        make(times_two, difficulty="simple")
    with pytest.raises(UsageError, match="one or more"):
        make(times_two, hints=[])


# --- in the notebook ------------------------------------------------------------------------------


def test_check_shows_and_remembers(twice, shown):
    twice.check(lambda x: (print("<here>"), x)[1])
    page, text = shown[-1]._repr_html_(), repr(shown[-1])
    assert 'role="status"' in page and "Not right yet" in page and "&lt;here&gt;" in page
    assert "It is not doubled." in text and "ex04.twice.hint()" in text
    twice.check(times_two)
    assert "✔ Right" in repr(shown[-1])
    assert progress.read()["ex04.twice"] | {"when": ""} == progress.EMPTY | {
        "tries": 2,
        "right": True,
    }


def test_a_stub_is_no_try(twice, shown):
    def stub(x):
        raise NotImplementedError("twice: your turn")

    twice.check(stub)
    assert "Not yet" in repr(shown[-1]) and "not written yet" in repr(shown[-1])
    assert progress.read() == {}


def test_hints_one_by_one_then_the_solution(twice, shown):
    twice.solution()
    assert "Hints first" in repr(shown[-1])
    twice.hint()
    assert "look" in repr(shown[-1]) and "closer" not in repr(shown[-1])
    twice.hint()
    assert "1. look\n2. closer" in repr(shown[-1]) and "solution()" in repr(shown[-1])
    twice.hint()
    assert "Hint 2 of 2" in repr(shown[-1])
    twice.solution()
    assert "solutions are not here" in repr(shown[-1]), "the toy has none"


def test_the_solution_is_shown_without_its_marks(shown):
    from kdcourse.exercises import ex04

    for _ in ex04.soft_target_loss.hints:
        ex04.soft_target_loss.hint()
    ex04.soft_target_loss.solution()
    assert "log_softmax" in shown[-1].code and "BEGIN" not in shown[-1].code
    assert progress.read()["ex04.soft_target_loss"]["solution"] is True


@pytest.mark.parametrize("broken", ["note", "read"])
def test_a_disk_that_is_full_or_closed_does_not_stop_a_check(twice, shown, monkeypatch, broken):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(progress, "note", full)
    monkeypatch.setattr(progress, broken, full)
    twice.check(times_two)
    assert "No space left" in repr(shown[0]) and "✔ Right" in repr(shown[1])
    twice.check(lambda x: x)
    assert "not doubled" in repr(shown[3])
