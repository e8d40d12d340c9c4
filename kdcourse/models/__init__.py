"""Teachers, students, and what they cost."""

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
from kdcourse.models.cost import Cost, cost, latencies, stages
from kdcourse.models.mobilenet import mobilenet_v2
from kdcourse.models.resnet import (
    d1_student,
    d1_teacher,
    resnet18,
    resnet34,
    resnet50,
    resnet152,
    thin_resnet,
)

__all__ = [
    "Cost",
    "cost",
    "d1_student",
    "d1_teacher",
    "latencies",
    "mobilenet_v2",
    "resnet8x4",
    "resnet18",
    "resnet20",
    "resnet32x4",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet152",
    "stages",
    "thin_resnet",
    "vgg8",
    "vgg13",
    "wrn_16_2",
    "wrn_40_2",
]
