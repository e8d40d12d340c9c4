"""Checks of exercise 06: curriculum sampling."""

from kdcourse.exercises.ex06_curriculum_sampling.rewards import fooled, verdict
from kdcourse.exercises.ex06_curriculum_sampling.sampling import drawn, seen_share, window
from kdcourse.exercises.ex06_curriculum_sampling.scores import difficulty

# In the order of the notebook.
TASKS = (
    difficulty,
    drawn,
    seen_share,
    window,
    fooled,
    verdict,
)
