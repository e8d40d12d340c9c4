"""A small student of a few scenes, trained and exported once for all tests of this folder."""

from functools import cache, partial
from pathlib import Path

from torch import nn

from kdcourse.common.paths import work_dir
from kdcourse.data import DataSplits, load
from kdcourse.distillation import CrossEntropy
from kdcourse.models import thin_resnet
from kdcourse.shipping.export import Exported, export_checkpoint
from kdcourse.training import Recipe, load_or_train

TILES = 40  # four a class: so the store's rows are the files in order


@cache
def scenes() -> DataSplits:
    return load("scenes", limit=TILES, image_size=32, progress=False)


def tiles() -> list[str]:
    """The files that `scenes` were decoded from, in the order of the store's rows."""
    scenes()
    return [str(path) for path in sorted((work_dir() / "scenes").glob("*/*.tif"))]


@cache
def trained() -> tuple[nn.Module, Path]:
    """The student, and its checkpoint."""
    student = partial(thin_resnet, channels=13, classes=10, width=8)
    recipe = Recipe(student, CrossEntropy, epochs=3, batch_size=8)
    network, _ = load_or_train(
        recipe, scenes(), name="shipped", progress=False, device="cpu", precision="float32"
    )
    return network, work_dir() / "models" / f"shipped-{recipe.key(scenes())}.pt"


@cache
def exported(format: str = "onnx", int8: bool = False) -> Exported:
    folder = work_dir() / "shipped"
    folder.mkdir(exist_ok=True)
    return export_checkpoint(
        trained()[1], folder / f"student{int8 * '8'}.{format}", format=format, int8=int8
    )


def tiny(channels: int = 3, classes: int = 3) -> nn.Module:
    """A network of one's own, for images of any size."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, classes),
    )
