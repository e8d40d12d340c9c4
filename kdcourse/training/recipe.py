"""Load or train: a network is trained once, and found again by its recipe."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import nn

import kdcourse
from kdcourse.common.paths import work_dir
from kdcourse.data.batches import Augmentation
from kdcourse.data.splits import DataSplits
from kdcourse.training.checkpoint import describe
from kdcourse.training.fit import adamw, fit, one_cycle
from kdcourse.training.history import History


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a trained network will be, except the data.

    `model` and `objective` are called to make a fresh one: use `functools.partial(resnet18,
    channels=13, classes=10)`, a class, or a module-level function. The other fields are arguments
    of `fit`.
    """

    model: Callable[[], nn.Module]
    objective: Callable[[], nn.Module]
    epochs: int
    optimizer: Callable = adamw
    schedule: Callable = one_cycle
    batch_size: int = 64
    augment: str | Augmentation | None = "default"
    views: int | None = None
    clip: float | None = None
    keep: str = "last"
    seed: int = 0

    def key(self, data: DataSplits) -> str:
        """Fingerprint of recipe, data and package version: what a trained network is kept under."""
        parts = [describe(self), data.fingerprint, kdcourse.__version__]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def load_or_train(
    recipe: Recipe,
    data: DataSplits,
    *,
    name: str = "model",
    precision: str = "auto",
    device=None,
    progress: bool = True,
    on_epoch: Callable[[dict], None] | None = None,
) -> tuple[nn.Module, History]:
    """The network of this recipe: read if it was trained before, trained (or trained on) and kept
    if not.

    Kept in `work_dir()/models/NAME-KEY.pt`; a change of recipe, data or package version makes
    another key. precision, device and on_epoch (see `fit`) are no part of it: a network that is
    done is taken as it is, without a call of on_epoch, and its History says what it was trained in.
    """
    path = work_dir() / "models" / f"{name}-{recipe.key(data)}.pt"
    with torch.random.fork_rng(devices=[]):  # networks are made on the CPU
        torch.manual_seed(recipe.seed)
        model, objective = recipe.model(), recipe.objective()
    options = {
        f.name: getattr(recipe, f.name)
        for f in fields(recipe)
        if f.name not in ("model", "objective")
    }
    history = fit(
        model,
        data,
        objective,
        checkpoint=path,
        precision=precision,
        device=device,
        progress=progress,
        on_epoch=on_epoch,
        about={"model": describe(recipe.model), **data.about()},
        **options,
    )
    return model, history
