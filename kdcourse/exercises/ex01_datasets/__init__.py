"""Exercise 01, data sets: an index, train's own statistics, a split by place, a band read off,
flaws of procedures.
"""

from kdcourse.exercises.ex01_datasets.moisture import moisture_index
from kdcourse.exercises.ex01_datasets.normalisation import normalise_by_train
from kdcourse.exercises.ex01_datasets.reading import PROCEDURES as PROCEDURES
from kdcourse.exercises.ex01_datasets.reading import clearest_band, flaws
from kdcourse.exercises.ex01_datasets.splitting import split_by_place

# In the order of the notebook.
TASKS = (
    moisture_index,
    normalise_by_train,
    split_by_place,
    clearest_band,
    flaws,
)
