"""Random numbers for judges, from a torch.Generator."""

import numpy as np
import torch


def whole_number(rng: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def whole_numbers(rng: torch.Generator, low: int, high: int, shape: tuple) -> np.ndarray:
    """An int64 array of whole numbers from low to high, both included."""
    return torch.randint(low, high + 1, shape, generator=rng).numpy()


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """A number from low to high, drawn in float64."""
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def random_logits(rng: torch.Generator, *sizes: int, spread: float = 3.0) -> torch.Tensor:
    """Normal logits with the standard deviation `spread`, float32."""
    return spread * torch.randn(*sizes, generator=rng)
