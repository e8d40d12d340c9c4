"""The methods of RepDistiller's table (Tian et al. 2020), side by side at equal budgets.

networks="published": its four pairs and its protocol: SGD at 0.05, divided by 10 after 150, 180 and
210 of 240 epochs, batch 64, weight decay 5e-4; each method with the weights of RepDistiller and
mdistiller. With "thin" networks, our optimiser and any data set it is a comparison of methods, not
a repetition of the table; more methods of notebooks 04 and 05 take part. No weight is tuned to the
data, of any method.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from torch import nn

from kdcourse.data import DataSplits
from kdcourse.distillation import (
    AttentionTransfer,
    CachedTeacher,
    ContrastiveKD,
    CrossEntropy,
    DecoupledKD,
    FitNets,
    FlowOfSolution,
    LogitMatching,
    ProbabilisticTransfer,
    RelationalKD,
    RelationMatchingKD,
    ResponseKD,
    ReviewKD,
    SimilarityPreserving,
    StandardisedKD,
)
from kdcourse.experiments import baselines
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models.cifar import (
    resnet8x4,
    resnet20,
    resnet32x4,
    resnet56,
    vgg8,
    vgg13,
    wrn_16_2,
    wrn_40_2,
)
from kdcourse.training import Recipe

# teacher, student, DKD's weight for the classes that are not the target (mdistiller's
# configuration)
PAIRS = {
    "ResNet32x4 → ResNet8x4": (resnet32x4, resnet8x4, 8.0),
    "WRN-40-2 → WRN-16-2": (wrn_40_2, wrn_16_2, 6.0),
    "ResNet56 → ResNet20": (resnet56, resnet20, 2.0),
    "VGG13 → VGG8": (vgg13, vgg8, 6.0),
}
# on the gradient's norm: the hint at weight 100, whose adapter has no batch norm here, diverged
# without it
CLIP = 5.0
THIN = "thin ResNets"
PUBLISHED_METHODS = ("labels", "KD", "FitNets", "AT", "SP", "relational KD", "CRD", "DKD")


def objectives(
    teacher: CachedTeacher, stages: Sequence[str], student: Sequence[str], nontarget: float = 8.0
) -> dict:
    """What the student of each method learns from. stages, student: paths of the teacher's and the
    student's stages.

    The layers are RepDistiller's: all stages for AT, the second for the hint, the last for SP, and
    what the classifier sees for relational KD, PKT and CRD.
    """
    last, pooled = (student[-1], stages[-1]), ("avgpool", "avgpool")
    flow = [list(zip(s, s[1:], strict=False)) for s in (student, stages)]
    return {
        "labels": CrossEntropy,
        "KD": partial(ResponseKD, teacher),
        "FitNets": partial(FitNets, teacher, student[1], stages[1]),
        "AT": partial(AttentionTransfer, teacher, student, stages),
        "SP": partial(SimilarityPreserving, teacher, *last),
        "relational KD": partial(RelationalKD, teacher, *pooled),
        "CRD": partial(ContrastiveKD, teacher, *pooled),
        "DKD": partial(DecoupledKD, teacher, nontarget_weight=nontarget),
        # beyond the table
        "label smoothing": partial(CrossEntropy, label_smoothing=0.1),
        "logit matching": partial(LogitMatching, teacher),
        "standardised KD": partial(StandardisedKD, teacher),
        "DIST": partial(RelationMatchingKD, teacher),
        "FitNets at 1": partial(FitNets, teacher, student[1], stages[1], hint_weight=1.0),
        "PKT": partial(ProbabilisticTransfer, teacher, *pooled),
        "FSP": partial(FlowOfSolution, teacher, *flow),
        "ReviewKD": partial(ReviewKD, teacher, student, stages),
    }


sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)


def three_drops(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A tenth of the learning rate after 150, 180 and 210 of 240 epochs, or the same shares of
    another number.
    """
    milestones = [round(steps * at / 240) for at in (150, 180, 210)]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


class Benchmark(Experiment):
    """All methods at equal budgets: RepDistiller's table, or the course's pair on the data at
    hand.
    """

    name = "benchmark"
    about = "which method is best, at equal budgets?"
    DATASETS = ("cifar100",)
    METHODS = tuple(
        objectives(None, ("layer1", "layer2", "layer3"), ("layer1", "layer2", "layer3"))
    )
    REFERENCE = "labels"
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=1, views=2),
        "cpu": Budget(limit=2000, teacher_epochs=30, student_epochs=20),
        "gpu": Budget(limit=None, teacher_epochs=240, student_epochs=240, views=None),
    }
    # RepDistiller's figures, and mdistiller's for DKD, CIFAR-100, top-1 test accuracy in %
    PUBLISHED = pd.DataFrame(
        {
            TEACHER: (79.42, 75.61, 72.34, 74.64),
            "labels": (72.50, 73.26, 69.06, 70.36),
            "KD": (73.33, 74.92, 70.66, 72.98),
            "FitNets": (73.50, 73.58, 69.21, 71.02),
            "AT": (73.44, 74.08, 70.55, 71.43),
            "SP": (72.94, 73.83, 69.67, 72.68),
            "relational KD": (71.90, 73.35, 69.61, 71.48),
            "CRD": (75.51, 75.48, 71.16, 73.94),
            "DKD": (76.32, 76.23, 71.97, 74.68),
        },
        index=pd.MultiIndex.from_product([["cifar100"], list(PAIRS)], names=["data", "pair"]),
    )
    PUBLISHED = PUBLISHED.rename_axis(columns="arm").stack().rename("published").to_frame()
    SOURCE = "the READMEs of RepDistiller and, for DKD, mdistiller"

    @property
    def arms(self) -> tuple[str, ...]:
        """Without a choice: the table's methods for its networks, all for the thin pair."""
        if not self.methods and self.networks == "published":
            return PUBLISHED_METHODS
        return super().arms

    @property
    def variants(self) -> list[tuple]:
        return [(("pair", pair),) for pair in (PAIRS if self.networks == "published" else (THIN,))]

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        budget, teaches = self.budget, run.arm == TEACHER
        epochs = budget.teacher_epochs if teaches else budget.student_epochs
        make = baselines.teacher_recipe if teaches else baselines.student_recipe
        recipe, nontarget = make(data, self.settings, run.seed, epochs), 8.0
        if run["pair"] != THIN:
            *pair, nontarget = PAIRS[run["pair"]]
            recipe = baselines.with_network(recipe, pair[0 if teaches else 1], data, optimizer=sgd)
            recipe = replace(
                recipe, schedule=three_drops, batch_size=min(64, recipe.batch_size), clip=CLIP
            )
        if teaches:
            return recipe
        teacher = CachedTeacher(networks[0])
        objective = objectives(teacher, networks[0].stages, recipe.model().stages, nontarget)[
            run.arm
        ]
        return replace(recipe, views=budget.views, objective=objective)

    def differences(self) -> list[str]:
        if self.networks == "published":
            return [
                "a tenth of the training images validates and does not train",
                "DKD's terms have full weight at once",
            ]
        return [
            "the course's thin pair, optimiser and number of epochs: a comparison of methods, not "
            "that table",
            "every method with its published weights, tuned on other data and networks",
        ]
