"""Losses of features and the objectives over them, as the tests of several files use them."""

from functools import partial

import torch

from kdcourse.data import Augmentation, Batches
from kdcourse.distillation import (
    AttentionTransfer,
    ContrastiveKD,
    FitNets,
    FlowOfSolution,
    ProbabilisticTransfer,
    RelationalKD,
    ReviewKD,
    SimilarityPreserving,
    Teacher,
    attention_transfer_loss,
    flow_loss,
    hint_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    review_loss,
    similarity_preserving_loss,
)
from kdcourse.models import thin_resnet
from kdcourse.training import adamw

paper_attention = partial(attention_transfer_loss, mode="paper")


MAP_LOSSES = [
    hint_loss,
    attention_transfer_loss,
    paper_attention,
    similarity_preserving_loss,
    review_loss,
]


VECTOR_LOSSES = [relational_distance_loss, relational_angle_loss, probabilistic_transfer_loss]


LOSSES = [*MAP_LOSSES, *VECTOR_LOSSES, flow_loss]


def name(loss):
    return getattr(loss, "__name__", "attention_transfer_loss, paper")


def features(seed, loss=hint_loss, batch=6, dtype=torch.float64):
    """Maps, vectors or flow matrices, as the loss takes them."""
    shape = {flow_loss: (4, 5)}.get(loss, (4,) if loss in VECTOR_LOSSES else (4, 6, 6))
    return torch.randn(
        (batch, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def teacher():
    torch.manual_seed(1)
    return Teacher(thin_resnet(8, 6, classes=3))


def student(seed=0):
    torch.manual_seed(seed)
    return thin_resnet(8, 4, classes=3, stem_stride=2)


LAYERS = ["layer1", "layer2", "layer3"]


PAIRS = [("layer1", "layer2"), ("layer2", "layer3")]


OBJECTIVES = {  # weights that a network of three layers bears; terms
    "hint": (
        partial(FitNets, student_layer="layer2", teacher_layer="layer2", hint_weight=1),
        ["hint"],
    ),
    "hint of vectors": (
        partial(FitNets, student_layer="avgpool", teacher_layer="avgpool", hint_weight=1),
        ["hint"],
    ),
    "attention": (
        partial(AttentionTransfer, student_layers=LAYERS, teacher_layers=LAYERS),
        ["attention"],
    ),
    "attention, paper": (
        partial(
            AttentionTransfer,
            student_layers=LAYERS,
            teacher_layers=LAYERS,
            attention_weight=1,
            mode="paper",
        ),
        ["attention"],
    ),
    "flow": (
        partial(FlowOfSolution, student_pairs=PAIRS, teacher_pairs=PAIRS, flow_weight=1),
        ["flow"],
    ),
    "similarity": (
        partial(SimilarityPreserving, student_layer="layer3", teacher_layer="layer3"),
        ["similarity"],
    ),
    "relational": (
        partial(RelationalKD, student_layer="avgpool", teacher_layer="layer3"),
        ["distance", "angle"],
    ),
    "probability": (
        partial(ProbabilisticTransfer, student_layer="layer3", teacher_layer="avgpool"),
        ["probability"],
    ),
    "contrast": (
        partial(
            ContrastiveKD, student_layer="avgpool", teacher_layer="fc", negatives=20, dimensions=8
        ),
        ["contrast"],
    ),
    "review": (partial(ReviewKD, student_layers=LAYERS, teacher_layers=LAYERS), ["review"]),
}


ADAPTED = ["hint", "hint of vectors", "flow", "contrast", "review"]


OPTIONS = dict(
    epochs=3,
    batch_size=16,
    augment=Augmentation("square", pad=1),
    seed=3,
    progress=False,
    device="cpu",
    optimizer=partial(adamw, lr=1e-2),
)


def build(kind, of=None, **weights):
    return OBJECTIVES[kind][0](of or teacher(), **weights)


def a_batch(data, size=8):
    return next(Batches(data.train, size, seed=0).epoch())
