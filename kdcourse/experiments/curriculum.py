"""D3's question: does a curriculum help a distilled student, if all arms see equally many samples?

D3 distils a ResNet-152 into a MobileNetV2 on mini-ImageNet, with and without a curriculum that an
agent steers. Its curriculum trails plain distillation, and sees 60 % of the images in an epoch.
Here every arm of a comparison sees the same number of samples in the same number of steps: `run`
refuses arms that don't.

What differs from D3, unless you ask for its own recipes (`curriculum_recipes`): the networks and
their training are those of `baselines`; the augmentation is the data set's own; there are several
seeds; the last epoch counts and not the best one on validation. Difficulty is measured on images
without augmentation, and again every `renew_every` epochs (D3: every 20 of up to 1,000).
`curriculum_grid` runs the same arms as a grid.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import kdcourse
from kdcourse.common.errors import UsageError
from kdcourse.common.paths import work_dir
from kdcourse.common.profiles import Profile
from kdcourse.curriculum import (
    CurriculumSampler,
    Linear,
    Root,
    Step,
    Strategy,
    adaptive,
    anti_curriculum,
    d3_difficulty,
    easiest,
    easy_to_hard,
    epoch_size,
    mixed,
    random_subset,
    split_difficulty,
)
from kdcourse.data import DataSplits
from kdcourse.data.batches import SHUFFLE, generator
from kdcourse.distillation import CrossEntropy, ResponseKD, Teacher
from kdcourse.evaluation import evaluate, mean_interval, paired_interval
from kdcourse.experiments import baselines
from kdcourse.training import History, Recipe, fit
from kdcourse.training import checkpoint as files
from kdcourse.training.checkpoint import describe

TEMPERATURE = 4.0
RENEW_EVERY = 4  # epochs; our runs are shorter than D3's
REFERENCE = "plain KD"

# D3's figures, one run each, mini-ImageNet
PUBLISHED = pd.DataFrame(
    {"test accuracy, %": (95.04, 79.28, 86.40, 87.20, 85.06)},
    index=pd.Index(
        (
            "teacher",
            "labels only",
            "60 % labels + 40 % teacher",
            "teacher only",
            "curriculum, teacher only, 60 % of the data an epoch",
        ),
        name="arm",
    ),
)


@dataclass(frozen=True)
class Arm:
    """What a student learns from, and which samples it sees.

    ratio: r, the share of the images in an epoch. strategy: draws them by difficulty, θ by the
    schedule; without one, the student goes through all images, pass after pass (`Passes`).
    hardest_first: the order of difficulty is turned
    round. keep_size: see `CurriculumSampler`; D3's epochs do not keep theirs.
    """

    name: str
    objective: Callable[[], nn.Module]
    ratio: float = 1.0
    strategy: Strategy | None = None
    schedule: Callable[[float], float] | float = 0.0
    hardest_first: bool = False
    keep_size: bool = True

    def sampler(self, count: int, epochs: int, seed: int) -> Callable[[int], np.ndarray]:
        """(epoch) → indices. Until it is told of a difficulty, all of the `count` samples are
        equally hard.
        """
        if self.strategy is None:
            return Passes(count, epoch_size(count, self.ratio), seed=seed)
        return CurriculumSampler(
            self.strategy, np.zeros(count), self.ratio, self.schedule, seed=seed, epochs=epochs,
            keep_size=self.keep_size,
        )  # fmt: skip

    def samples(self, count: int, epochs: int) -> int:
        """Samples seen in training. The size of an epoch depends on neither seed nor difficulty."""
        sampler = self.sampler(count, epochs, seed=0)
        return sum(len(sampler(epoch)) for epoch in range(epochs))


class Passes:
    """Pass after pass over all samples, each pass in an order of its own, cut into epochs of `size`
    samples.

    Plain training at a curriculum's pace: after E epochs E · size samples were seen, and of any two
    samples one at most once more than the other. With size = count its epochs are those of
    `Batches` without a sampler. An epoch that ends one pass and begins the next may hold a sample
    twice.
    """

    def __init__(self, count: int, size: int, *, seed: int):
        if not 1 <= size <= count:
            raise UsageError(f"size={size}: expected 1 to count={count}, the samples of an epoch")
        self.count, self.size, self.seed = count, size, seed

    def __call__(self, epoch: int) -> np.ndarray:
        start, stop = epoch * self.size, (epoch + 1) * self.size
        first, last = start // self.count, (stop - 1) // self.count
        orders = [
            generator(self.seed, number, SHUFFLE).permutation(self.count)
            for number in range(first, last + 1)
        ]
        return np.concatenate(orders)[start - first * self.count : stop - first * self.count]


def teacher_only(teacher: Teacher) -> Callable[[], nn.Module]:
    """T² · KL at T = 4, no labels."""
    return partial(ResponseKD, teacher, temperature=TEMPERATURE, soft_weight=1.0, label_weight=0.0)


def five_arms(teacher: Teacher) -> tuple[Arm, ...]:
    """The four students of D3's table, as D3 has them: the last sees fewer samples than the others.

    Its θ follows a schedule here; in D3 the agent moves it (`environment` and
    `kdcourse.curriculum.agent.one_run`).
    """
    both = partial(ResponseKD, teacher, temperature=TEMPERATURE, soft_weight=0.4, label_weight=0.6)
    alone = teacher_only(teacher)
    objectives = (CrossEntropy, both, alone)
    plain = [
        Arm(name, objective)
        for name, objective in zip(PUBLISHED.index[1:4], objectives, strict=True)
    ]
    return *plain, Arm(PUBLISHED.index[4], alone, 0.6, mixed, Linear(), keep_size=False)


def equal_arms(teacher: Teacher, ratio: float = 0.6) -> tuple[Arm, ...]:
    """Arms that all see `epoch_size(N, ratio)` samples an epoch: what differs is which.

    "random subset" is drawn without regard to difficulty. "hard to easy" is "easy to hard" with the
    ranks turned round, the anti-curriculum. "easiest, root" follows Platanios et al. 2019;
    "easiest, step" trains on the easiest first and from half time on on all, as Bengio et al. 2009.
    "adaptive window" is D3's `adaptive`, sliding inside the range.
    """
    arm = partial(Arm, objective=teacher_only(teacher), ratio=ratio)
    return (
        Arm("labels only", CrossEntropy, ratio),
        arm(REFERENCE),
        arm("random subset", strategy=random_subset),
        arm("easy to hard", strategy=easy_to_hard, schedule=Linear()),
        arm("hard to easy", strategy=easy_to_hard, schedule=Linear(), hardest_first=True),
        arm("easiest, root", strategy=easiest, schedule=Root(2)),
        arm("easiest, step", strategy=easiest, schedule=Step((0.5,), (0.0, 1.0))),
        arm("adaptive window", strategy=adaptive, schedule=Linear()),
    )


def train(
    arm: Arm,
    data: DataSplits,
    settings: Profile,
    teacher: Teacher,
    *,
    epochs: int,
    seed: int,
    views: int | None = None,
    renew_every: int = RENEW_EVERY,
    student: Callable[..., Recipe] = baselines.student_recipe,
    device: str | torch.device | None = None,
) -> tuple[nn.Module, History]:
    """The student of an arm, and what happened: found if it was trained before, trained (on) if
    not.

    student: makes its recipe, called with (data, settings, seed, epochs). Difficulty is D3's, by
    this very student: it is measured before the first epoch and again every `renew_every` epochs.
    Raises as `fit` does.
    """
    recipe = replace(student(data, settings, seed, epochs), objective=arm.objective, views=views)
    path = work_dir() / "models" / f"d3-{_key(arm, recipe, data, teacher, renew_every)}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, objective = recipe.model(), recipe.objective()
    sampler = arm.sampler(len(data.train), epochs, seed)
    for start in range(0, epochs, renew_every):
        if arm.strategy is not None:
            sampler.renew(
                _difficulty(path.with_suffix(f".epoch-{start}"), arm, data, teacher, network)
            )
        history = fit(
            network,
            data,
            objective,
            epochs=epochs,
            until=min(start + renew_every, epochs),
            sampler=sampler,
            checkpoint=path,
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            batch_size=recipe.batch_size,
            augment=recipe.augment,
            views=views,
            seed=seed,
            clip=recipe.clip,
            keep=recipe.keep,
            device=device,
            progress=False,
        )
    return network, history


def _key(arm: Arm, recipe: Recipe, data: DataSplits, teacher: Teacher, renew_every: int) -> str:
    parts = [
        recipe.key(data),
        describe_sampling(arm),
        teacher.fingerprint,
        renew_every,
        kdcourse.__version__,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def describe_sampling(arm: Arm) -> list:
    """How an arm draws its samples, in plain values, as `describe` gives them."""
    return [repr(arm.strategy), arm.ratio, describe(arm.schedule), arm.hardest_first, arm.keep_size]


def _difficulty(
    path: Path, arm: Arm, data: DataSplits, teacher: Teacher, network: nn.Module
) -> np.ndarray:
    """(N,), kept in a file: a run that is taken up later has gone on since this was measured."""
    if not path.exists():
        measured = split_difficulty(data.train, teacher, network, d3_difficulty)
        files.save(path, {"difficulty": torch.from_numpy(measured)})
    difficulty = files.load(path)["difficulty"].numpy()
    return anti_curriculum(difficulty) if arm.hardest_first else difficulty


def run(
    arms: Iterable[Arm],
    data: DataSplits,
    settings: Profile,
    teacher: Teacher,
    *,
    epochs: int,
    seeds: Sequence[int],
    equal: bool = True,
    **options,
) -> pd.DataFrame:
    """Every arm with every seed: columns arm, seed, samples seen, accuracy (test, %).

    equal: raise UsageError if the arms do not all see the same number of samples. options: as for
      `train`.
    """
    samples = {arm: arm.samples(len(data.train), epochs) for arm in arms}
    if equal and len(set(samples.values())) > 1:
        counts = ", ".join(f"{arm.name} {count:,}" for arm, count in samples.items())
        raise UsageError(
            f"the arms see different numbers of samples ({counts}): make them equal, or say "
            "equal=False"
        )
    rows = []
    for arm, count in samples.items():
        for seed in seeds:
            network, _ = train(arm, data, settings, teacher, epochs=epochs, seed=seed, **options)
            accuracy = evaluate(network, data.test, data.classes).accuracy
            rows.append([arm.name, seed, count, accuracy])
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = ["arm", "seed", "samples seen", "accuracy"]


def environment(
    data: DataSplits,
    settings: Profile,
    teacher: Teacher,
    *,
    epochs: int,
    student: Callable[..., Recipe] = baselines.student_recipe,
    renew_every: int = RENEW_EVERY,
    **options,
):
    """A `DistillationEnv` whose student, seed by seed, begins and trains as that of an arm. Needs
    the extra `agent`.

    options: as for `DistillationEnv`; ratio and views should be those of the arms. Raises
    UsageError for a recipe that keeps the best epoch or clips gradients, which the environment does
    not.
    """
    from kdcourse.curriculum.environment import (
        DistillationEnv,
    )  # an extra, that the other arms can do without

    recipe = student(data, settings, 0, epochs)
    if recipe.keep != "last" or recipe.clip is not None:
        raise UsageError(
            f"keep={recipe.keep!r}, clip={recipe.clip}: an environment's student has keep='last' "
            "and none"
        )
    training = dict(
        optimizer=recipe.optimizer, schedule=recipe.schedule, batch_size=recipe.batch_size
    )
    training |= dict(augment=recipe.augment, renew_every=renew_every)
    return DistillationEnv(data, teacher, recipe.model, epochs=epochs, **(training | options))


def steer(name: str, env, policy: Callable[[int], Callable], seeds: Sequence[int]) -> pd.DataFrame:
    """A policy instead of an arm: the same columns as of `run`.

    policy: called with the seed, makes one for `kdcourse.curriculum.agent.play`, which steers the
      run of that seed.
    """
    from kdcourse.curriculum.agent import play

    rows = []
    for seed in seeds:
        episode = play(env, policy(seed), seed=seed)
        accuracy = evaluate(env.student, env.data.test, env.data.classes).accuracy
        rows.append([name, seed, episode.samples, accuracy])
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(runs: pd.DataFrame, reference: str = REFERENCE) -> pd.DataFrame:
    """A row an arm: mean accuracy, interval over seeds, paired difference to the reference arm and
    its interval.

    The difference is over the seeds that both have. Only arms that saw as many samples as the
    reference have one: others cannot say which images helped. Raises UsageError if the reference is
    not among the arms.
    """
    if reference not in set(runs.arm):
        raise UsageError(f"reference={reference!r}: expected one of {', '.join(runs.arm.unique())}")
    plain = runs[runs.arm == reference].set_index("seed")
    rows = []
    for arm, group in runs.groupby("arm", sort=False):
        group = group.set_index("seed")
        samples = group["samples seen"].mean()
        common = group.index.intersection(plain.index)
        one, other = group.loc[common], plain.loc[common]
        comparable = (
            arm != reference
            and len(common)
            and (one["samples seen"] == other["samples seen"]).all()
        )
        gain = paired_interval(one.accuracy, other.accuracy) if comparable else (np.nan, np.nan)
        rows.append([arm, samples, *mean_interval(group.accuracy), *gain, len(group)])
    gained = [f"gain over {reference}, points", "± 95 % paired"]
    columns = ["arm", "samples seen", "test accuracy, %", "± 95 % over seeds", *gained, "seeds"]
    return pd.DataFrame(rows, columns=columns)
