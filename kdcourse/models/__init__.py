"""Teachers, students, and what they cost."""

from typing import TYPE_CHECKING

from kdcourse.common.lazy import lazy_exports

if TYPE_CHECKING:
    from kdcourse.models.cifar import *  # noqa: F403
    from kdcourse.models.cost import *  # noqa: F403
    from kdcourse.models.mobilenet import *  # noqa: F403
    from kdcourse.models.resnet import *  # noqa: F403

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cifar": (
            "resnet8x4", "resnet20", "resnet32x4", "resnet56", "vgg8", "vgg13", "wrn_16_2",
            "wrn_40_2",
        ),
        "cost": ("Cost", "cost", "latencies", "stages"),
        "mobilenet": ("mobilenet_v2",),
        "resnet": (
            "d1_student", "d1_teacher", "resnet18", "resnet34", "resnet50", "resnet152",
            "thin_resnet",
        ),
    },
)  # fmt: skip
