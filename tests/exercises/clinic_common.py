"""Exercise 09: what the answers to several groups of cases share."""

import torch

from kdcourse.exercises.ex09_bug_clinic.finding import FOUND


def logits(rows=8, classes=5, far=1.0):
    return far * torch.randn(rows, classes)


def passes(*given):
    """A check that looks and says nothing."""


def refuses(*given):
    raise AssertionError("broken")


def found(group):
    """The right answer of a group in other forms."""
    right = FOUND[group]
    capitals = {f"case {case}": letter.upper() for case, letter in right.items()}
    return [
        list(right.values()),
        "".join(right.values()),
        capitals,
        {str(case): f"({letter})" for case, letter in right.items()},
    ]
