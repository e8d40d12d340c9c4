"""Checks of exercise 09: the bug clinic. The implementations that a check is tried on are in
`bug_cases`.
"""

from kdcourse.exercises.ex09_bug_clinic.data import found_data, mend_7, mend_8, prove_7, prove_8
from kdcourse.exercises.ex09_bug_clinic.evaluation import (
    cancels,
    flattery,
    found_evaluation,
    mend_9,
    mend_10,
    prove_9,
    prove_10,
)
from kdcourse.exercises.ex09_bug_clinic.losses import (
    found_losses,
    mend_1,
    mend_2,
    mend_3,
    prove_1,
    prove_2,
    prove_3,
)
from kdcourse.exercises.ex09_bug_clinic.trainers import (
    found_trainers,
    mend_4,
    mend_5,
    mend_6,
    prove_4,
    prove_5,
    prove_6,
)

# In the order of the notebook.
TASKS = (
    found_losses,
    prove_1,
    mend_1,
    prove_2,
    mend_2,
    prove_3,
    mend_3,
    found_trainers,
    prove_4,
    mend_4,
    prove_5,
    mend_5,
    prove_6,
    mend_6,
    found_data,
    prove_7,
    mend_7,
    prove_8,
    mend_8,
    found_evaluation,
    prove_9,
    mend_9,
    prove_10,
    mend_10,
    flattery,
    cancels,
)
