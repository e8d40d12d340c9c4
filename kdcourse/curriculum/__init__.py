"""Curriculum sampling: how hard a sample is, and which samples an epoch holds."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.curriculum.difficulty import *  # noqa: F403
    from kdcourse.curriculum.sampling import *  # noqa: F403
    from kdcourse.curriculum.strategies import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "difficulty": (
            "Difficulty", "ForgettingEvents", "d3_difficulty", "sample_difficulty",
            "split_difficulty", "student_loss", "teacher_margin",
        ),
        "sampling": ("CurriculumSampler", "Linear", "Root", "Step"),
        "strategies": (
            "STRATEGIES", "Strategy", "Stretch", "adaptive", "anti_curriculum", "easiest",
            "easiest_first", "easy_to_hard", "epoch_size", "hard_mining", "importance_weights",
            "mixed", "random_order", "random_subset",
        ),
    },
)  # fmt: skip
