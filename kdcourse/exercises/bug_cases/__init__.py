"""The implementations of the bug clinic (ex09): for each of its ten cases several right and several
broken ones.

A check that a learner writes is tried on all of them: it must raise AssertionError on the broken
ones and on no right one. The first broken one of each case is the code that the exercise shows. The
first line of each docstring is what a message calls it.
"""

from collections.abc import Callable

from kdcourse.checking import answer_parts
from kdcourse.exercises.bug_cases import data, evaluation, losses, trainers

RIGHT = {
    1: (
        losses.soft_batchmean,
        losses.soft_by_hand,
        losses.soft_cross_entropy,
        losses.soft_sample_by_sample,
    ),
    2: (losses.both_branches, losses.both_branches_apart, losses.both_branches_by_weight),
    3: (losses.soft_batchmean, losses.soft_by_hand, losses.soft_cross_entropy),
    4: (trainers.train_each_epoch, trainers.train_after_validation, trainers.validate_a_copy),
    5: (trainers.teacher_eval_each_epoch, trainers.student_train_alone, trainers.teacher_copied),
    6: (
        trainers.adapter_chained,
        trainers.adapter_in_a_group,
        trainers.adapter_with_its_own_optimiser,
    ),
    7: (data.answers_by_index, data.answers_live, data.answers_one_by_one),
    8: (data.same_views, data.same_draws, data.views_one_by_one),
    9: (evaluation.best_on_validation, evaluation.last_best_on_validation, evaluation.last_epoch),
    10: (
        evaluation.train_flipped_alone,
        evaluation.normalised_first,
        evaluation.flipped_one_by_one,
    ),
}


BROKEN = {
    1: (losses.soft_mean, losses.soft_mean_by_hand, losses.soft_sum_over_numel),
    2: (
        losses.labelled_without,
        losses.unlabelled_without,
        losses.labelled_with_t,
        losses.unlabelled_with_t,
    ),
    3: (
        losses.underflow,
        losses.underflow_in_ratio,
        losses.underflow_of_student,
        losses.underflow_of_teacher,
    ),
    4: (trainers.left_in_eval, trainers.trains_again_at_the_end, trainers.eval_by_train_false),
    5: (
        trainers.teacher_trains,
        trainers.teacher_eval_at_the_end,
        trainers.teacher_trains_in_the_second_epoch,
    ),
    6: (trainers.adapter_left_out, trainers.adapter_detached, trainers.adapter_frozen),
    7: (data.answers_in_another_order, data.answers_of_the_first_epoch, data.answers_unshuffled),
    8: (data.other_views, data.answers_to_whole_images, data.views_of_views),
    9: (evaluation.best_on_test, evaluation.last_best_on_test, evaluation.best_test_figure),
    10: (evaluation.test_flipped, evaluation.test_turned, evaluation.test_brightened),
}


def one_implementation(case: int, right: bool, number: int) -> Callable:
    """One implementation of a case, under a name that does not say which."""
    function = (RIGHT if right else BROKEN)[case][number]

    def implementation(*args, **kwargs):
        return function(*args, **kwargs)

    return implementation


answer_parts.provide("implementation", one_implementation)
