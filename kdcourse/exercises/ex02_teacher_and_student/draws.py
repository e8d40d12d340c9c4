"""Random numbers for the judges of this exercise."""

import torch


def between(low: int, high: int, rng: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))
