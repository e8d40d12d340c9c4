"""How good a network is, and how sure one can be of it."""

from kdcourse.evaluation.comparison import (
    McNemar,
    Paired,
    RankCorrelation,
    holm,
    in_words,
    main_effects,
    mcnemar,
    paired,
    rank_correlation,
    seeds_needed,
)
from kdcourse.evaluation.fidelity import Fidelity, fidelity, per_class_transfer
from kdcourse.evaluation.metrics import (
    Evaluation,
    evaluate,
    mean_interval,
    paired_interval,
    predict,
    score,
    wilson_interval,
)

__all__ = [
    "Evaluation",
    "Fidelity",
    "McNemar",
    "Paired",
    "RankCorrelation",
    "evaluate",
    "fidelity",
    "holm",
    "in_words",
    "main_effects",
    "mcnemar",
    "mean_interval",
    "paired",
    "paired_interval",
    "per_class_transfer",
    "predict",
    "rank_correlation",
    "score",
    "seeds_needed",
    "wilson_interval",
]
