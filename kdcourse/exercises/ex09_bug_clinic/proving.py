"""The judge of a learner's check: tried on right and broken implementations."""

import numpy as np
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, AnswerPart, CallOutcome, Wrong
from kdcourse.exercises import bug_cases

SEEDED = "chance has gone, or a seed is set inside, and then every epoch shows the same."


def fresh_seed(rng: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=rng))


# --- to prove -------------------------------------------------------------------------------------


def prove_case(answer: Answer, rng: torch.Generator, case: int, look: str, tries: int = 2) -> None:
    """A learner's check must raise AssertionError on every broken implementation and on no right
    one, each time.

    look: where to look if the code that is shown goes through.
    """
    torch.manual_seed(fresh_seed(rng))  # a check may draw for itself
    _must_pass(answer, case, 0, tries)
    _must_fail(answer, case, 0, tries, look)
    for number in range(1, len(bug_cases.RIGHT[case])):
        _must_pass(answer, case, number, tries)
    for number in range(1, len(bug_cases.BROKEN[case])):
        _must_fail(answer, case, number, tries, "")


def _must_pass(answer: Answer, case: int, number: int, tries: int) -> None:
    for _ in range(tries):
        outcome = _tried(answer, case, True, number)
        if outcome.error:
            name, complaint = bug_cases.RIGHT[case][number].__doc__, outcome.error[1].strip()
            complaint = f" It says: {complaint[:300]}." if complaint else ""
            raise Wrong(
                f"Your check says no to an implementation that is right: {name}.{complaint} Does "
                "it ask for more than the case promises: equality to the last digit, one way of "
                "writing it, a certain state afterwards? Or is what it expects itself wrong?",
                "fails right",
            )


def _must_fail(answer: Answer, case: int, number: int, tries: int, look: str) -> None:
    outcomes = [_tried(answer, case, False, number) for _ in range(tries)]
    silent = [outcome for outcome in outcomes if not outcome.error]
    name = bug_cases.BROKEN[case][number].__doc__
    if (
        len(silent) <= tries // 10
    ):  # one of ten is bad luck: ten images are all unflipped once in a thousand times
        return
    if len(silent) < tries:
        raise Wrong(
            f"Your check said no to {name} in {tries - len(silent)} of {tries} calls: it depends "
            "on chance. Use more images, or compare with what must come out.",
            "by chance",
        )
    if isinstance(silent[0].value, bool | np.bool_ | str | torch.Tensor):
        raise Wrong(
            f"Your check returned {expect.type_name(silent[0].value)} for {name}. Nobody reads "
            "what a check returns: it must raise. Write `assert …` where you wrote `return …`.",
            "returns",
        )
    if number == 0:
        raise Wrong(
            f"Your check lets {name} through as it stands: no AssertionError comes out of it. "
            f"{look}",
            "misses",
        )
    raise Wrong(
        f"Your check says no to the code of case {case}, but it lets the same fault in another "
        f"form through: {name}.",
        "misses variant",
    )


def _tried(answer: Answer, case: int, right: bool, number: int) -> CallOutcome:
    outcome = answer.outcome(AnswerPart("implementation", (case, right, number)))
    if outcome.error and outcome.error[0] != "AssertionError":
        kind, message = outcome.error
        place = f" in {outcome.line}" if outcome.line else ""
        name = (bug_cases.RIGHT if right else bug_cases.BROKEN)[case][number].__doc__
        raise Wrong(
            f"On {name}, your check stopped with {kind}{place}: {message[:300]}. A check says no "
            "with AssertionError, and says nothing otherwise.",
            "raised",
        )
    return outcome
