"""Objectives: what a student learns from."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.distillation.hooks import *  # noqa: F403
    from kdcourse.distillation.intermediate import *  # noqa: F403
    from kdcourse.distillation.objective import *  # noqa: F403
    from kdcourse.distillation.response import *  # noqa: F403
    from kdcourse.distillation.teacher import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "hooks": ("FeatureHooks", "ForwardOutput", "forward_with_features"),
        "intermediate": (
            "AttentionBasedFusion", "AttentionTransfer", "ContrastiveKD", "FitNets",
            "FlowOfSolution", "ProbabilisticTransfer", "RelationalKD", "ReviewKD",
            "SimilarityPreserving", "attention_map", "attention_transfer_loss", "contrastive_loss",
            "flow_loss", "flow_matrix", "hint_loss", "probabilistic_transfer_loss",
            "relational_angle_loss", "relational_distance_loss", "review_loss",
            "similarity_preserving_loss",
        ),
        "objective": ("Combined", "Objective"),
        "response": (
            "CrossEntropy", "DecoupledKD", "LogitMatching", "PartlyLabelled", "RelationMatchingKD",
            "ResponseKD", "StandardisedKD", "decoupled_loss", "logit_matching_loss",
            "nontarget_class_loss", "relation_matching_loss", "soft_target_loss",
            "standardised_soft_target_loss", "target_class_loss",
        ),
        "teacher": ("CachedTeacher", "Teacher"),
    },
)  # fmt: skip
