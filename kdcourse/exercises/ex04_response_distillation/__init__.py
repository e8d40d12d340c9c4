"""Checks of exercise 04, response-based distillation."""

from kdcourse.exercises.ex04_response_distillation.losses import (
    distillation_gradient,
    soft_target_loss,
    translated_weight,
)
from kdcourse.exercises.ex04_response_distillation.reading import crossing, what_is_shown
from kdcourse.exercises.ex04_response_distillation.reading import (
    gradient_lengths as gradient_lengths,
)
from kdcourse.exercises.ex04_response_distillation.reading import (
    made_up_accuracies as made_up_accuracies,
)
from kdcourse.exercises.ex04_response_distillation.reading import pulls as pulls
from kdcourse.exercises.ex04_response_distillation.table import kept_answers

# In the order of the notebook.
TASKS = (
    soft_target_loss,
    distillation_gradient,
    crossing,
    translated_weight,
    kept_answers,
    what_is_shown,
)
