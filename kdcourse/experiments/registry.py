"""The experiments by the names that the command line knows."""

from kdcourse.common.errors import unknown
from kdcourse.common.profiles import profile
from kdcourse.experiments.benchmark import Benchmark
from kdcourse.experiments.cifar10 import D2
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.curriculum_grid import D3
from kdcourse.experiments.eurosat import D1
from kdcourse.experiments.grid import Experiment
from kdcourse.experiments.missing_bands import Bands
from kdcourse.experiments.negative import Negative
from kdcourse.experiments.unlabelled import Unlabelled
from kdcourse.experiments.when_it_pays import Pays

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (D1, D2, D3, D4, Benchmark, Pays, Negative, Unlabelled, Bands)
}


def experiment_class(name: str) -> type[Experiment]:
    """The experiment of this name. Raises UsageError for one that is not known."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


def as_it_was(about: dict) -> Experiment:
    """The experiment of a results folder, from what its experiment.json says."""
    kind = experiment_class(about["experiment"])
    return kind(
        profile(about["profile"]),
        limit=about["limit"],
        networks=about["networks"],
        split_seed=about["split_seed"],
    )
