"""Every figure of the course, one file per chapter.

Each function returns a matplotlib Figure whose attribute `alt` says in words what the figure shows,
with the numbers. `show(fig)` puts it into a notebook as an image with that text.
"""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.plots.baselines import *  # noqa: F403
    from kdcourse.plots.comparison import *  # noqa: F403
    from kdcourse.plots.curriculum import *  # noqa: F403
    from kdcourse.plots.datasets import *  # noqa: F403
    from kdcourse.plots.intermediate import *  # noqa: F403
    from kdcourse.plots.networks import *  # noqa: F403
    from kdcourse.plots.response import *  # noqa: F403
    from kdcourse.plots.shipping import *  # noqa: F403
    from kdcourse.plots.start import *  # noqa: F403
    from kdcourse.plots.style import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "style": ("COLOURS", "MARKERS", "GREY", "Picture", "show", "to_html", "data_uri"),
        "start": ("accuracy_per_digit", "digit_answers", "digit_grid", "soft_targets"),
        "datasets": ("show_tiles", "signatures"),
        "networks": ("accuracy_cost", "stages_figure"),
        "baselines": ("learning_curves", "confusion_matrix", "seeds"),
        "response": ("soft_answers", "class_pairs", "temperature", "gradient_norms", "heat_map"),
        "intermediate": (
            "attention_maps", "matrices", "pair_distances", "term_gradients",
            "copied_maps", "partners",
        ),
        "curriculum": ("difficulty_drift", "drawn_ranks", "reward_parts", "by_action"),
        "comparison": (
            "gains", "gain_panels", "gain_map", "gain_against", "drawn_gains", "pareto",
        ),
        "shipping": ("land_map",),
    },
)  # fmt: skip
