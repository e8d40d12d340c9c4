"""D3's question: does a curriculum help a distilled student, if everyone sees the same number of
samples?

D3 distils a ResNet-152 into a MobileNetV2 on mini-ImageNet, with and without a curriculum that an
agent steers. Its curriculum trails plain distillation, and sees 60 % of the images an epoch. Here
every arm of a comparison sees the
same number of samples, in as many steps: `run` refuses arms that do not.

What differs from D3, unless its own recipes are asked for (`mobilenet`, `imagenet_teacher`): the
pair and its training, which are those of `baselines`; the data set's own augmentation; several
seeds; the last epoch and not the best one on validation. Difficulty is measured on images as they
are and renewed every `renew_every` epochs (D3: 20 of up to 1,000).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torchvision.models import ResNet152_Weights

import kdcourse
from kdcourse import plots
from kdcourse.common.errors import DataError, UsageError
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
from kdcourse.data import load as load_data
from kdcourse.data.batches import SHUFFLE, generator
from kdcourse.distillation import CachedTeacher, CrossEntropy, ResponseKD, Teacher
from kdcourse.evaluation import evaluate, mean_interval, paired_interval
from kdcourse.experiments import baselines
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.complexity import THIN, Pair
from kdcourse.experiments.grid import TEACHER, Budget, Experiment, Run
from kdcourse.models import mobilenet_v2, resnet152
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
            network, data, objective, epochs=epochs, until=min(start + renew_every, epochs), sampler=sampler,
            checkpoint=path, optimizer=recipe.optimizer, schedule=recipe.schedule, batch_size=recipe.batch_size,
            augment=recipe.augment, views=views, seed=seed, clip=recipe.clip, keep=recipe.keep, device=device,
            progress=False,
        )  # fmt: skip
    return network, history


def _key(arm: Arm, recipe: Recipe, data: DataSplits, teacher: Teacher, renew_every: int) -> str:
    what = [recipe.key(data), _drawn(arm), teacher.fingerprint, renew_every, kdcourse.__version__]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _drawn(arm: Arm) -> list:
    """How it draws its samples, as `describe` would tell it."""
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
        said = ", ".join(f"{arm.name} {seen:,}" for arm, seen in samples.items())
        raise UsageError(
            f"the arms see different numbers of samples ({said}): make them equal, or say "
            "equal=False"
        )
    rows = []
    for arm, seen in samples.items():
        for seed in seeds:
            network, _ = train(arm, data, settings, teacher, epochs=epochs, seed=seed, **options)
            rows.append([arm.name, seed, seen, evaluate(network, data.test, data.classes).accuracy])
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
    """A policy in the place of an arm: the same columns as of `run`.

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
        seen = group["samples seen"].mean()
        common = group.index.intersection(plain.index)
        one, other = group.loc[common], plain.loc[common]
        comparable = (
            arm != reference
            and len(common)
            and (one["samples seen"] == other["samples seen"]).all()
        )
        gain = paired_interval(one.accuracy, other.accuracy) if comparable else (np.nan, np.nan)
        rows.append([arm, seen, *mean_interval(group.accuracy), *gain, len(group)])
    gained = [f"gain over {reference}, points", "± 95 % paired"]
    columns = ["arm", "samples seen", "test accuracy, %", "± 95 % over seeds", *gained, "seeds"]
    return pd.DataFrame(rows, columns=columns)


# --- D3's own networks and data -------------------------------------------------------------------

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
            f'{class_index}: not ImageNet\'s class index ({error}). Expected JSON: {{"0": ["n01440764", "tench"], …}}'
        ) from error
    missing = [name for name in classes if name not in column]
    if missing:
        raise DataError(
            f"{class_index}: {len(missing)} of {len(classes)} classes are not in it, {missing[0]} "
            "for one. Class "
            "folders must bear WordNet ids, as in ImageNet"
        )
    return [column[name] for name in classes]


# --- as a grid ------------------------------------------------------------------------------------

OWN = (
    "D3: labels only",
    "D3: 60 % labels + 40 % teacher",
    "D3: teacher only",
    "D3: curriculum",
)  # `five_arms`
EQUAL = (  # `equal_arms`
    "labels only",
    REFERENCE,
    "random subset",
    "easy to hard",
    "hard to easy",
    "easiest by root",
    "easiest then all",
    "adaptive window",
)


def named_arms(teacher: Teacher) -> dict[str, Arm]:
    """D3's students and those at equal samples, by names that tell them apart."""
    arms = zip((*OWN, *EQUAL), (*five_arms(teacher), *equal_arms(teacher)), strict=True)
    return {name: replace(arm, name=name) for name, arm in arms}


class D3(Experiment):
    """D3 as a grid: the students of its table, whose curriculum sees fewer samples, and students
    that all see as many.

    networks="published": D3's pair and their training, both from scratch. The agent is no arm: it
    needs an extra, and it moves the temperature besides; notebook 06 has it.
    """

    name = "d3"
    about = "does a curriculum help a distilled student, at equal samples seen?"
    DATASETS = ("scenes", "eurosat_rgb")  # in the profile gpu: mini_imagenet
    METHODS = (*OWN, *EQUAL)
    REFERENCE = REFERENCE
    LARGE_IMAGES = True
    BUDGETS = {
        "smoke": Budget(limit=100, teacher_epochs=1, student_epochs=2, views=2),
        "cpu": Budget(limit=5000, teacher_epochs=20, student_epochs=30),
        "gpu": Budget(limit=None, teacher_epochs=60, student_epochs=60, views=None),
    }
    PUBLISHED = pd.DataFrame(
        {"published": PUBLISHED["test accuracy, %"].to_list()},
        index=pd.MultiIndex.from_product(
            [["mini_imagenet"], [TEACHER, *OWN]], names=["data", "arm"]
        ),
    )
    SOURCE = "D3, a public repository, one run each"

    def runs(self) -> list[Run]:
        if self.settings.name == "gpu" and not self.datasets:
            return replace(self, datasets=("mini_imagenet",)).runs()
        return super().runs()

    @property
    def pair(self) -> Pair:
        return THIN if self.networks == "thin" else Pair(teacher_from_scratch, mobilenet)

    def arm(self, run: Run, networks: Sequence[nn.Module]) -> Arm:
        return named_arms(CachedTeacher(networks[0]))[run.arm]

    def recipe(self, run: Run, data: DataSplits, networks: Sequence[nn.Module]) -> Recipe:
        if run.arm == TEACHER:
            return self.pair.teacher(data, self.settings, run.seed, self.budget.teacher_epochs)
        student = self.pair.student(data, self.settings, run.seed, self.budget.student_epochs)
        return replace(
            student, objective=self.arm(run, networks).objective, views=self.budget.views
        )

    def train(
        self, run: Run, data: DataSplits, networks: Sequence[nn.Module]
    ) -> tuple[nn.Module, History, object]:
        if run.arm == TEACHER:
            return super().train(run, data, networks)
        arm, budget = self.arm(run, networks), self.budget
        network, history = train(
            arm, data, self.settings, CachedTeacher(networks[0]), epochs=budget.student_epochs, seed=run.seed,
            views=budget.views, student=self.pair.student,
        )  # fmt: skip
        return network, history, [describe(self.recipe(run, data, networks)), _drawn(arm)]

    def judge(
        self, run: Run, network: nn.Module, data: DataSplits, networks: Sequence[nn.Module]
    ) -> dict:
        found = super().judge(run, network, data, networks)
        if run.arm != TEACHER:
            found["samples seen"] = self.arm(run, networks).samples(
                len(data.train), self.budget.student_epochs
            )
        return found

    def analyses(self, frame: pd.DataFrame) -> Iterator[Analysis]:
        for name, rows in frame.groupby("data", sort=False):
            control, plain, curriculum = "random subset", "D3: teacher only", "D3: curriculum"
            table = _table(rows, EQUAL, control)
            if table is not None:
                text = (
                    "All of these see equally many samples. The random subset costs what a "
                    "curriculum costs and knows "
                    "nothing of difficulty: a curriculum that gains over plain KD and not over the "
                    "random subset owes "
                    "nothing to its order."
                )
                pairs = [(arm, control) for arm in table.arm if arm != control]
                yield Analysis(
                    f"{name}: at equal samples seen", text, table.round(2), _gaps(rows, pairs)
                )
            table = _table(rows, OWN, plain)
            if table is not None:
                text = (
                    "D3's students as they are; one that sees fewer samples has no difference in "
                    "this table. Their "
                    "gains over plain KD, further up, are not at equal samples: it sees the 60 % "
                    "of the images an "
                    "epoch that D3's curriculum is meant to see. Put between teacher only and "
                    "curriculum, it parts "
                    "their gap: first what the number of samples does, then the rest."
                )
                pairs = [(plain, REFERENCE), (REFERENCE, curriculum), (plain, curriculum)]
                yield Analysis(f"{name}: D3's own table", text, table.round(2), _gaps(rows, pairs))

    def differences(self) -> list[str]:
        budget = self.budget
        said = []
        if self.networks == "thin":
            said += [
                "The course's thin pair, not ResNet-152 and MobileNetV2.",
                f"AdamW with one cycle and batches of {self.settings.batch_size}, not Adam with a "
                "cosine and batches "
                "of 128; the last epoch counts, not the best on validation.",
            ]
        if self.pixels != 224:
            size = f"{self.pixels}×{self.pixels} pixels" if self.pixels else "their own size"
            said.append(f"Images of {size}, not 224×224.")
        if budget.limit:
            said.append(f"No more than {budget.limit:,} training images.")
        return [
            *said,
            f"Students have {budget.student_epochs} epochs, D3's up to 1,000.",
            "The teacher learns the labels of these data from scratch; D3's has ImageNet's "
            "weights, and so has seen "
            "mini-ImageNet's images.",
            "Augmentation is the data set's own, not D3's crops and colour jitter.",
            "The curriculum's θ goes from 0 to 1 by a schedule; in D3 an agent moves it, and the "
            "temperature.",
            f"Difficulty is measured on images as they are, every {RENEW_EVERY} epochs; D3: on "
            "random crops, every 20.",
        ]


def _table(rows: pd.DataFrame, arms: Sequence[str], reference: str) -> pd.DataFrame | None:
    """`summary` of these arms, in this order; None without the reference."""
    rows = rows[rows.arm.isin(arms)].sort_values(
        "arm", key=lambda names: names.map(arms.index), kind="stable"
    )
    return summary(rows, reference) if reference in set(rows.arm) else None


def _gaps(rows: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> Figure | None:
    """Paired differences between arms, of those that have a seed in common; None if there are
    none.
    """
    accuracy = rows.pivot(index="seed", columns="arm", values="accuracy")
    points = []
    for one, other in pairs:
        both = accuracy.reindex(columns=[one, other]).dropna()
        if len(both):
            points.append([f"{one} − {other}", *paired_interval(both[one], both[other])])
    return plots.gains(pd.DataFrame(points, columns=["name", "gain", "half"])) if points else None
