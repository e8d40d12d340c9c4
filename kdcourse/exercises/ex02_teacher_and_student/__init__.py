"""Exercise 02, teacher and student: map sizes, cost of a convolution, a block by hand, a pair read
off and chosen.
"""

from kdcourse.exercises.ex02_teacher_and_student.block import residual_block
from kdcourse.exercises.ex02_teacher_and_student.costs import convolution_cost, map_sizes, work
from kdcourse.exercises.ex02_teacher_and_student.pairs import choose_pair, claims

# In the order of the notebook.
TASKS = (
    map_sizes,
    convolution_cost,
    residual_block,
    work,
    choose_pair,
    claims,
)
