"""Checks of exercise 05: intermediate distillation."""

from kdcourse.exercises.ex05_intermediate_distillation.hints import hint_loss, same_size
from kdcourse.exercises.ex05_intermediate_distillation.published import TABLE as TABLE
from kdcourse.exercises.ex05_intermediate_distillation.published import largest_weight, supported
from kdcourse.exercises.ex05_intermediate_distillation.relations import angle_loss, code_weight

# In the order of the notebook.
TASKS = (
    same_size,
    hint_loss,
    code_weight,
    angle_loss,
    largest_weight,
    supported,
)
