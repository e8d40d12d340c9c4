"""The judges of a pair of networks: chosen by a function, and claims about pairs."""

from collections.abc import Callable
from functools import lru_cache, partial

import pandas as pd
import torch
from torch import nn

from kdcourse import models
from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises.draws import whole_number

POINTS, TIMES = (
    3,
    5,
)  # what makes a pair worth distilling: points of accuracy, times fewer multiply–adds


# --- choose a pair --------------------------------------------------------------------------------


@task(
    "ex02",
    title="Choose a pair",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=(
        "Which columns count? Neither the parameters nor the test accuracy.",
        "Look at all pairs with two loops, and keep those that fulfil both conditions.",
        "Of those, the best student; if several teachers fit it, the most accurate of them: "
        "max(pairs, key=lambda pair: (student's accuracy, teacher's accuracy)).",
    ),
)
def choose_pair(answer: Answer, rng: torch.Generator) -> None:
    """(teacher, student) of a table of networks, or None: a better teacher, a cheaper student, by
    the right columns.
    """
    tables = [_exactly()] + [
        _networks(rng, lambda networks: _pair(networks) is None) for _ in range(2)
    ]
    for _, wrong, _ in _WRONG_PAIRS:  # a table for every mistake, on which it shows
        tables.append(
            _networks(
                rng, lambda networks, wrong=wrong: _pair(networks) not in (None, wrong(networks))
            )
        )
    came = []
    for networks in tables:
        got, names = answer(networks), [network["name"] for network in networks]
        if got is not None and not (
            isinstance(got, list | tuple)
            and len(got) == 2
            and all(isinstance(each, str) and each in names for each in got)
        ):
            raise Wrong(
                f"Expected a pair of names (teacher, student), or None, got {got!r}.", "type"
            )
        came.append(got if got is None else tuple(got))
    right = [_pair(networks) for networks in tables]
    if came == right:
        return
    first = next(i for i in range(len(tables)) if came[i] != right[i])
    shown = pd.DataFrame(tables[first]).to_string(index=False)
    message = f"In this table\n{shown}\nexpected {right[first]}, got {came[first]}."
    for whole in (True, False):  # if no mistake explains the pairs, one may explain the students
        for fault, wrong, why in _WRONG_PAIRS:
            instead = [wrong(networks) for networks in tables]
            if (
                came == instead
                or not whole
                and _students(right) != _students(came) == _students(instead)
            ):
                raise Wrong(f"{message}\n{why}", fault)
    if came[0] is None and came[1:] == right[1:]:
        raise Wrong(
            f"{message}\nExactly {POINTS} points and exactly {TIMES} times are enough: `>=`, not "
            "`>`.",
            "exactly",
        )
    raise Wrong(
        f"{message}\n{_facts(tables[first], came[first])}", "pair" if came[first] else "none found"
    )


def _networks(rng: torch.Generator, wanted: Callable) -> list[dict]:
    """A wanted table, in which parameters, test accuracy, and the order of the rows mislead."""
    names = [f"net-{letter}" for letter in "ABCDEF"]
    while True:
        macs = (10 ** (5.5 + 3 * torch.rand(len(names), generator=rng))).round().long().tolist()
        accuracies = [
            78 + torch.randperm(60, generator=rng)[: len(names)] / 4 for _ in range(2)
        ]  # no two alike
        networks = [
            dict(
                name=name,
                parameters=1000 * whole_number(rng, 50, 30_000),
                macs=each,
                val_accuracy=val,
                test_accuracy=test,
            )
            for name, each, val, test in zip(
                names, macs, *(each.tolist() for each in accuracies), strict=True
            )
        ]
        leads = {
            abs(one["val_accuracy"] - other["val_accuracy"])
            for one in networks
            for other in networks
        }
        if POINTS not in leads and wanted(networks):
            return networks


def _exactly() -> list[dict]:
    """A table whose only pair just fulfils both conditions."""
    columns = ("name", "parameters", "macs", "val_accuracy", "test_accuracy")
    rows = (
        ("net-A", 2_000_000, 10_000_000, 86.5, 85.0),
        ("net-B", 1_000_000, 2_000_000, 83.5, 84.0),
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _pair(
    networks: list[dict],
    accuracy: str = "val_accuracy",
    size: str = "macs",
    points: float = POINTS,
    times: float = TIMES,
    factor: float = 1.0,
    best: Callable | None = None,
) -> tuple[str, str] | None:
    """The pair with the most accurate student, and of those the one with the most accurate
    teacher.
    """
    best = best or (lambda teacher, student: (student[accuracy], teacher[accuracy]))
    pairs = [
        (teacher, student)
        for teacher in networks
        for student in networks
        if teacher is not student
        and teacher[accuracy] >= factor * student[accuracy] + points
        and teacher[size] >= times * student[size]
    ]
    return tuple(one["name"] for one in max(pairs, key=lambda pair: best(*pair))) if pairs else None


def _students(pairs: list[tuple | None]) -> list[str | None]:
    return [pair and pair[1] for pair in pairs]


def _extremes(networks: list[dict], column: str) -> tuple[str, str]:
    ranked = sorted(networks, key=lambda network: network[column])
    return ranked[-1]["name"], ranked[0]["name"]


_WRONG_PAIRS = (
    (
        "parameters",
        partial(_pair, size="parameters"),
        "Parameters are not cost: compare multiply–adds.",
    ),
    (
        "test",
        partial(_pair, accuracy="test_accuracy"),
        "You chose by test accuracy. Validation chooses; test is for the end.",
    ),
    (
        "swapped",
        lambda networks: (_pair(networks) or ())[::-1] or None,
        "The order is (teacher, student).",
    ),
    (
        "best teacher first",
        partial(
            _pair, best=lambda teacher, student: (teacher["val_accuracy"], student["val_accuracy"])
        ),
        "You took the best teacher and then a student. It is the student that will be used: the "
        "best *student* first.",
    ),
    (
        "cheapest student",
        partial(_pair, best=lambda teacher, student: (-student["macs"], teacher["val_accuracy"])),
        "You took the cheapest student. Of those that are cheap enough, the most accurate was "
        "asked for.",
    ),
    (
        "widest lead",
        partial(
            _pair, best=lambda teacher, student: teacher["val_accuracy"] - student["val_accuracy"]
        ),
        "You took the widest lead, which a poor student makes wide. The most accurate student was "
        "asked for.",
    ),
    (
        "cheapest teacher",
        partial(_pair, best=lambda teacher, student: (student["val_accuracy"], -teacher["macs"])),
        "The student is right; of the teachers that fit it, the most accurate was asked for.",
    ),
    (
        "not better",
        partial(_pair, points=0),
        f"The teacher must be at least {POINTS} points better, by validation.",
    ),
    (
        "not better",
        partial(_pair, points=-100),
        f"The teacher must be at least {POINTS} points better, by validation.",
    ),
    (
        "percent",
        partial(_pair, points=0, factor=1 + POINTS / 100),
        f"{POINTS} points were asked for, not {POINTS} % of the student's accuracy: subtract.",
    ),
    (
        "not cheaper",
        partial(_pair, times=1),
        f"The student must need at least {TIMES} times fewer multiply–adds.",
    ),
    (
        "not cheaper",
        partial(_pair, times=0),
        f"The student must need at least {TIMES} times fewer multiply–adds.",
    ),
    (
        "not cheaper",
        partial(_pair, times=1 / TIMES),
        f"The student must need {TIMES} times fewer: turn the ratio over.",
    ),
    (
        "largest and smallest",
        partial(_extremes, column="macs"),
        "The largest network need not be the best: look at accuracy.",
    ),
    (
        "best and worst",
        partial(_extremes, column="val_accuracy"),
        "The best and the worst: look at what they cost.",
    ),
)


def _facts(networks: list[dict], pair: tuple[str, str] | None) -> str:
    if pair is None:
        return "There is a pair that fulfils both conditions."
    teacher, student = (next(each for each in networks if each["name"] == name) for name in pair)
    lead, ratio = (
        teacher["val_accuracy"] - student["val_accuracy"],
        teacher["macs"] / student["macs"],
    )
    return (
        f"On validation your teacher leads by {lead:+g} points; your student needs 1/{ratio:.2f} "
        "of its multiply–adds."
    )


# --- which of these hold? -------------------------------------------------------------------------


@task(
    "ex02",
    title="Statements that hold",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=(
        "Each can be tried in a line or two: models.cost(network, (13, 32, 32), latency=False), or "
        "its answers.",
        "For D and E build a thin network, put it into the mode that the statement names, and ask "
        "it twice.",
    ),
)
def claims(answer: Answer, rng: torch.Generator) -> None:
    """The letters of the statements that hold."""
    known = _claims()
    letters = expect.letters(answer.value(), known)
    for letter, (holds, measured) in known.items():
        if (letter in letters) != holds:
            raise Wrong(f"Look at {letter} again. Measured: {measured}.", f"claim {letter}")


@lru_cache(maxsize=1)
def _claims() -> dict[str, tuple[bool, str]]:
    """Each statement of the notebook tried: whether it holds, and what was seen."""

    def cost(network, side=32):
        return models.cost(network, (13, side, side), latency=False)

    wide, narrow = (cost(models.thin_resnet(8, width, channels=13)) for width in (32, 16))
    small, large = cost(models.d1_teacher()), cost(models.d1_teacher(), side=64)
    student = cost(models.d1_student())
    ordinary = models.cost(nn.Conv2d(64, 64, 3, padding=1), (64, 16, 16), latency=False).macs
    separable = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 64, 1))
    share = models.cost(separable, (64, 16, 16), latency=False).macs / ordinary

    torch.manual_seed(0)
    network, images = models.thin_resnet(8, 8, channels=13), torch.randn(8, 13, 16, 16)
    with torch.no_grad():
        network.eval()
        apart = (network(images)[0] - network(images[:2])[0]).abs().max().item()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()(images)
    moved = [
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    ]
    return {
        "A": (
            wide.macs < 2.5 * narrow.macs,
            f"{wide.macs / narrow.macs:.2f} times the multiply–adds",
        ),
        "B": (
            small.parameters == large.parameters and abs(large.macs / small.macs - 4) < 0.1,
            f"{large.parameters / small.parameters:g} times the parameters, "
            f"{large.macs / small.macs:.2f} times the multiply–adds",
        ),
        "C": (share < 1 / 5, f"{share:.3f} of the multiply–adds"),
        "D": (
            apart > 1e-3,
            f"the logits of one image, in two batches, differ by at most {apart:.1g}",
        ),
        "E": (
            bool(moved),
            f"{len(moved)} entries of the state dict have changed, for example {moved[:1]}",
        ),
        "F": (
            student.parameters < small.parameters and student.macs < small.macs,
            f"{student.parameters / small.parameters:.2f} times the teacher's parameters, "
            f"{student.macs / small.macs:.2f} times its multiply–adds",
        ),
    }
