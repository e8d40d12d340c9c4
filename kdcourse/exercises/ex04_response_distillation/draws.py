"""Random numbers for the judges of this exercise."""

import torch


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=rng).item()


def whole_number(rng: torch.Generator, low: int, high: int) -> int:
    """From low to high − 1."""
    return int(torch.randint(low, high, (), generator=rng))


def random_logits(rng: torch.Generator, *sizes: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(*sizes, generator=rng)
