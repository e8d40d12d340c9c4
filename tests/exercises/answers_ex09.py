"""Exercise 09: right answers written otherwise than the solution, and wrong ones with what they
must be told, by groups of cases.
"""

import clinic_data
import clinic_evaluation
import clinic_losses
import clinic_trainers

NEEDS_TENSORS = ("mend_1", "mend_2", "mend_3")

RIGHT = clinic_losses.RIGHT | clinic_trainers.RIGHT | clinic_data.RIGHT | clinic_evaluation.RIGHT
WRONG = clinic_losses.WRONG | clinic_trainers.WRONG | clinic_data.WRONG | clinic_evaluation.WRONG
