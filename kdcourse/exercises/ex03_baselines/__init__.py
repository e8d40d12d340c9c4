"""Exercise 03, baselines: how many test images, a paired interval, calibration, a stopping point,
five comparisons.
"""

from kdcourse.exercises.ex03_baselines.calibration import calibration_error
from kdcourse.exercises.ex03_baselines.gains import images_needed, paired_gain
from kdcourse.exercises.ex03_baselines.reading import COMPARISONS as COMPARISONS
from kdcourse.exercises.ex03_baselines.reading import noisy_run as noisy_run
from kdcourse.exercises.ex03_baselines.reading import stopping, verdicts

# In the order of the notebook.
TASKS = (
    images_needed,
    paired_gain,
    calibration_error,
    stopping,
    verdicts,
)
