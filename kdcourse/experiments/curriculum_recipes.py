"""D3's own networks and data: ResNet-152, MobileNetV2, mini-ImageNet and ImageNet's weights.

`kdcourse.experiments.curriculum` trains the course's own pair unless you ask for these.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torchvision.models import ResNet152_Weights

from kdcourse.common.errors import DataError
from kdcourse.common.profiles import Profile
from kdcourse.data import DataSplits
from kdcourse.data import load as load_data
from kdcourse.distillation import CrossEntropy, Teacher
from kdcourse.models import mobilenet_v2, resnet152
from kdcourse.training import Recipe

adam = partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-4)


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """From the optimiser's learning rate down to 1e-6 (Loshchilov & Hutter 2017, without
    restarts).
    """
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-6)


def load(settings: Profile, **options) -> DataSplits:
    """mini-ImageNet at 224×224 in the `gpu` profile, as in D3; Tiny ImageNet at 64×64 otherwise.

    options: as for `kdcourse.data.load`. Raises DataError where the files are not there.
    """
    name, size = ("mini_imagenet", 224) if settings.name == "gpu" else ("tiny_imagenet", 64)
    return load_data(name, image_size=size, **options)


def mobilenet(
    data: DataSplits, settings: Profile, seed: int = 0, epochs: int | None = None
) -> Recipe:
    """D3's student, from scratch: MobileNetV2, Adam at 1e-3, cosine to 1e-6, batch 128, best epoch
    on validation.

    epochs: as the profile says unless given; D3 trains for up to 1,000. The crops are the data
    set's own, not D3's RandomResizedCrop. Small images get the small stem.
    """
    return _recipe(mobilenet_v2, data, settings, seed, epochs or settings.student_epochs)


def teacher_from_scratch(
    data: DataSplits, settings: Profile, seed: int = 0, epochs: int | None = None
) -> Recipe:
    """A ResNet-152 that learns the labels as the student does: for data on which ImageNet's answers
    are of no use.
    """
    return _recipe(resnet152, data, settings, seed, epochs or settings.teacher_epochs)


def _recipe(
    network: Callable, data: DataSplits, settings: Profile, seed: int, epochs: int
) -> Recipe:
    stem = "imagenet" if min(data.image_size) >= 128 else "small"
    model = partial(network, channels=len(data.channels), classes=len(data.classes), stem=stem)
    batch_size = 32 if settings.name == "smoke" else 128
    return Recipe(
        model,
        CrossEntropy,
        epochs,
        optimizer=adam,
        schedule=cosine,
        batch_size=batch_size,
        keep="best",
        seed=seed,
    )


IMAGENET = tuple(
    tuple(255 * x for x in values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def imagenet_teacher(data: DataSplits, class_index: str | os.PathLike) -> Teacher:
    """D3's teacher: ResNet-152 with ImageNet's weights (torchvision's IMAGENET1K_V1), its logits
    picked by `label_map`.

    The data must be bytes, 0 to 255, in three channels. It has seen the images of mini-ImageNet in
    its own training. Raises DownloadError where the weights can neither be found nor fetched, and
    as `label_map` does.
    """
    columns = label_map(data.classes, class_index)
    network = resnet152(
        classes=1000, pretrained=True
    )  # with a new head: here ImageNet's own is wanted
    state = ResNet152_Weights.IMAGENET1K_V1.get_state_dict(
        progress=False, check_hash=True, weights_only=True
    )
    network.fc.load_state_dict({name: state[f"fc.{name}"] for name in ("weight", "bias")})
    own = (data.mean, data.std)
    return Teacher(network, label_map=columns, normalisation=IMAGENET, student_normalisation=own)


def label_map(classes: Sequence[str], class_index: str | os.PathLike) -> list[int]:
    """The column of ImageNet's 1,000 for each class, called by its WordNet id ("n01532829") as its
    folder is.

    class_index: the usual JSON file of ImageNet's classes, {"0": ["n01440764", "tench"], …}. Raises
    DataError if it cannot be read or does not know a class.
    """
    try:
        content = json.loads(Path(class_index).read_text(encoding="utf-8"))
        column = {wnid: int(number) for number, (wnid, _) in content.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{class_index}: not ImageNet's class index ({error}). Expected JSON: "
            '{"0": ["n01440764", "tench"], …}'
        ) from error
    missing = [name for name in classes if name not in column]
    if missing:
        raise DataError(
            f"{class_index}: {len(missing)} of {len(classes)} classes are not in it, {missing[0]} "
            "for one. Class folders must bear WordNet ids, as in ImageNet"
        )
    return [column[name] for name in classes]
