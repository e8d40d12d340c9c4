"""Objectives: what a student learns from."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.distillation.cached_teacher import *  # noqa: F403
    from kdcourse.distillation.contrastive import *  # noqa: F403
    from kdcourse.distillation.hooks import *  # noqa: F403
    from kdcourse.distillation.intermediate import *  # noqa: F403
    from kdcourse.distillation.objective import *  # noqa: F403
    from kdcourse.distillation.relations import *  # noqa: F403
    from kdcourse.distillation.response import *  # noqa: F403
    from kdcourse.distillation.response_objectives import *  # noqa: F403
    from kdcourse.distillation.review import *  # noqa: F403
    from kdcourse.distillation.teacher import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cached_teacher": ("CachedTeacher",),
        "contrastive": ("ContrastiveKD", "contrastive_loss"),
        "hooks": ("FeatureHooks", "ForwardOutput", "forward_with_features"),
        "intermediate": (
            "AttentionTransfer", "FitNets", "FlowOfSolution", "attention_map",
            "attention_transfer_loss", "flow_loss", "flow_matrix", "hint_loss",
        ),
        "objective": ("Combined", "LossTerms", "Objective"),
        "relations": (
            "ProbabilisticTransfer", "RelationalKD", "SimilarityPreserving",
            "probabilistic_transfer_loss", "relational_angle_loss", "relational_distance_loss",
            "similarity_preserving_loss",
        ),
        "response": (
            "decoupled_loss", "logit_matching_loss", "nontarget_class_loss",
            "relation_matching_loss", "soft_target_loss", "standardised_soft_target_loss",
            "target_class_loss",
        ),
        "response_objectives": (
            "CrossEntropy", "DecoupledKD", "LogitMatching", "PartlyLabelled", "RelationMatchingKD",
            "ResponseKD", "StandardisedKD",
        ),
        "review": ("AttentionBasedFusion", "ReviewKD", "review_loss"),
        "teacher": ("Teacher",),
    },
)  # fmt: skip
