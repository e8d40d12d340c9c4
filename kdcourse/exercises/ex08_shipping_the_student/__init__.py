"""Checks of exercise 08: shipping the student."""

from kdcourse.exercises.ex08_shipping_the_student.affine import int8
from kdcourse.exercises.ex08_shipping_the_student.shipping import candidates as candidates
from kdcourse.exercises.ex08_shipping_the_student.shipping import latency, to_ship, windows
from kdcourse.exercises.ex08_shipping_the_student.shipping import timings as timings
from kdcourse.exercises.ex08_shipping_the_student.weights import folded, rounded_weight

# In the order of the notebook.
TASKS = (
    folded,
    int8,
    rounded_weight,
    latency,
    windows,
    to_ship,
)
