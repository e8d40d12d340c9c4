"""How good a network is, and how sure one can be of it."""

from kdcourse.evaluation.metrics import (
    Evaluation,
    evaluate,
    mean_interval,
    paired_interval,
    predict,
    score,
    wilson_interval,
)

__all__ = ["Evaluation", "evaluate", "mean_interval", "paired_interval", "predict", "score", "wilson_interval"]
