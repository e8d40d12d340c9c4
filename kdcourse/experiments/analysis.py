"""What an experiment says of its results beyond the table: a piece of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdcourse.common.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Analysis:
    """A section of the report. `Experiment.analyses` yields them.

    text: plain, paragraphs apart by an empty line. alt: the figure in words, with its numbers; by
    default what the figure says of itself, as those of `kdcourse.plots` do. Raises UsageError for a
    figure without words.
    """

    title: str
    text: str
    table: pd.DataFrame | None = None
    figure: Figure | None = None
    alt: str = ""

    def __post_init__(self):
        if self.figure is not None and not self.alt:
            object.__setattr__(self, "alt", getattr(self.figure, "alt", ""))
            if not self.alt:
                raise UsageError(
                    f"the figure of {self.title!r} has no alt: say in words what is to be seen"
                )
