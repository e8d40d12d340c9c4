"""Commands for published experiments: reproduce and report."""

import sys
from pathlib import Path

import click

from kdcourse.cli.group import lines, stoppable


def _listed(context, parameter, value: str | None) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(filter(None, map(str.strip, (value or "").split(","))))


def _engine(name: str, address: str | None, jobs: int | None, threads: int):
    """The engine by name. Raises UsageError for an unknown one."""
    if name == "local":
        from kdcourse.experiments.engines import Local

        return Local(jobs, threads=threads)
    if name == "ray":
        from kdcourse.experiments.cluster import Ray

        return Ray(address, jobs=jobs, threads=threads)
    from kdcourse.common.errors import unknown

    raise unknown("engine", name, ("local", "ray"))


@click.command()
@click.argument("experiment")
@click.option("--profile", help="smoke (plumbing), cpu (the default) or gpu (the published sizes).")
@click.option(
    "--datasets", callback=_listed, metavar="A,B", help="Data sets.  [default: the experiment's]"
)
@click.option(
    "--methods",
    callback=_listed,
    metavar="A,B",
    help="Methods; the reference is always among them.",
)
@click.option("--seeds", default=3, show_default=True, metavar="N", help="Students a method.")
@click.option("--limit", type=int, metavar="N", help="Training images at most; test stays whole.")
@click.option(
    "--networks", help="thin (the course's pair) or published.  [default: thin; gpu: published]"
)
@click.option(
    "--output", metavar="DIR", help="Folder for the results.  [default: output/EXPERIMENT]"
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    help="local (processes) or ray (extra `cluster`).",
)
@click.option("--address", help="Of a Ray cluster to join.  [default: a Ray on this machine]")
@click.option(
    "--jobs", type=int, metavar="N", help="Runs at a time.  [default: one a GPU, else one a core]"
)
@click.option("--threads", default=1, show_default=True, metavar="N", help="CPU threads a run.")
@click.option("--tensorboard", is_flag=True, help="Write learning curves for TensorBoard, too.")
def reproduce(
    experiment, profile, output, engine, address, jobs, threads, tensorboard, **options
) -> None:
    """Run a published experiment again: its figures beside ours, with intervals.

    \b
    EXPERIMENT is one of
      d1         augmentation x distillation x stem on satellite tiles
      d2         a ResNet on CIFAR-10, one fault mended at a time
      d3         a curriculum at equal samples seen
      d4         response and intermediate distillation on simple and complex data
      benchmark  the methods of RepDistiller's table
      pays       when distillation pays: data size, epochs, teacher, student
      negative   where it does harm
      unlabelled how far a teacher's answers replace labels
      bands      a teacher of thirteen bands, a student of three

    \b
    Examples:
      kdcourse reproduce d4 --datasets usps,digits,scenes
      kdcourse reproduce d1 --datasets eurosat_ms --networks published --output output/d1-own
      kdcourse reproduce d4 --engine ray --address auto

    Stop it, or let it be killed: the same command does only what is missing. See docs/scaling.md.

    Status: 0 all done, 1 a run failed, 2 a wrong argument, 130 stopped by Ctrl-C.
    """
    from kdcourse.common.profiles import profile as find_profile
    from kdcourse.experiments import reproduce as reproduction
    from kdcourse.experiments.registry import experiment_class
    from kdcourse.experiments.report import write

    settings = find_profile(profile)
    options["networks"] = options["networks"] or ("published" if settings.name == "gpu" else "thin")
    recipe = experiment_class(experiment)(settings, **options)
    engine = _engine(engine, address, jobs, threads)
    folder = Path(output or f"output/{experiment}")
    echo, live = lines()
    with stoppable(echo, "What was done is kept; the same command does the rest."):
        logs = reproduction.tensorboard(folder) if tensorboard else None
        progress = reproduction.reproduce(recipe, folder, engine, echo=echo, live=live, ended=logs)
    echo(f"Report: {write(folder)}")
    sys.exit(1 if progress.failed else 0)


@click.command()
@click.argument("results")
@click.option(
    "--output", metavar="DIR", help="Folder for the report.  [default: beside the results]"
)
@click.option("--pack", metavar="FILE", help="Also put all results into one small JSON file.")
def report(results, output, pack) -> None:
    """Make the report of an experiment again: report.html, report.csv and runs.csv.

    RESULTS: the folder that `kdcourse reproduce` wrote to, or a file made by --pack.

    \b
    Examples:
      kdcourse report output/d4
      kdcourse report output/d4 --pack d4.json
      kdcourse report d4.json --output output/d4-again
    """
    from kdcourse.experiments.records import pack as pack_results
    from kdcourse.experiments.report import write

    echo, _ = lines()
    echo(f"Report: {write(results, output)}")
    if pack:
        echo(f"Packed: {pack_results(results, pack)}")
