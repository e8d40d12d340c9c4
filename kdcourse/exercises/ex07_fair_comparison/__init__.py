"""Checks of exercise 07: a fair comparison."""

from kdcourse.exercises.ex07_fair_comparison.intervals import PILOT as PILOT
from kdcourse.exercises.ex07_fair_comparison.intervals import bootstrap_interval, seeds_for_gain
from kdcourse.exercises.ex07_fair_comparison.p_values import holm, p_range, permutation_p
from kdcourse.exercises.ex07_fair_comparison.reading import claims

# In the order of the notebook.
TASKS = (
    bootstrap_interval,
    holm,
    p_range,
    seeds_for_gain,
    permutation_p,
    claims,
)
