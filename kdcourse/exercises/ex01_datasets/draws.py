"""Random numbers for the judges of this exercise."""

import numpy as np
import torch


def whole_numbers(low: int, high: int, shape: tuple, rng: torch.Generator) -> np.ndarray:
    return torch.randint(low, high, shape, generator=rng).numpy()
