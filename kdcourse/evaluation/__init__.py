"""How good a network is, and how sure one can be of it."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.evaluation.comparison import *  # noqa: F403
    from kdcourse.evaluation.fidelity import *  # noqa: F403
    from kdcourse.evaluation.metrics import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "comparison": (
            "McNemar", "Paired", "RankCorrelation", "holm", "in_words", "main_effects", "mcnemar",
            "paired", "rank_correlation", "seeds_needed",
        ),
        "fidelity": ("Fidelity", "fidelity", "per_class_transfer"),
        "metrics": (
            "Evaluation", "evaluate", "mean_interval", "paired_interval", "predict", "score",
            "wilson_interval",
        ),
    },
)  # fmt: skip
