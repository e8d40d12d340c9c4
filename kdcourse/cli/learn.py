"""Commands for learners: run and rehearse notebooks, check the machine, see the progress."""

import json
import sys
from pathlib import Path

import click

from kdcourse.cli.group import lines, stoppable


@click.command()
@click.argument("notebooks", nargs=-1)
@click.option(
    "--profile", help="smoke (seconds), cpu (the default) or gpu (the published protocols)."
)
@click.option(
    "--dataset", help="Data set, by name (see `kdcourse data list`) or a folder of images."
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a notebook's parameter. May be repeated.",
)
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be read.")
@click.option(
    "--output",
    default="output/course",
    show_default=True,
    metavar="DIR",
    help="Folder for what was run.",
)
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    metavar="N",
    help="Notebooks at a time; they share the cores.",
)
@click.option(
    "--keep-going", is_flag=True, help="Go on with the next notebook after one that failed."
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="For a notebook, which is then tried once more.  [default: 3600; smoke 1800, gpu 86400]",
)
def run(
    notebooks, profile, dataset, parameters, skip_bad, output, jobs, keep_going, timeout
) -> None:
    """Run notebooks of the course and write them, with an index.html, to a folder.

    NOTEBOOKS: names, numbers or paths; all notebooks if none is given.

    \b
    Examples:
      kdcourse run
      kdcourse run 00 01 --profile smoke
      kdcourse run 03 --dataset cifar10 --param limit=3000
      kdcourse run my/notebook.ipynb --output output/mine --keep-going

    A notebook loads what earlier ones trained and trains what is missing; with --jobs it waits for
    these.

    Status: 0 all done, 1 a notebook failed, 2 a wrong argument, 130 stopped by Ctrl-C.
    """
    from kdcourse.running.run import run as run_notebooks
    from kdcourse.running.selection import parse_parameter

    given = dict(map(parse_parameter, parameters))
    if skip_bad:
        given["skip_bad"] = True
    echo, live = lines()
    with stoppable(
        echo,
        "Notebooks that were done are kept, and what others trained: the same command goes on.",
    ):
        outcomes = run_notebooks(
            notebooks,
            profile=profile,
            dataset=dataset,
            parameters=given,
            output=output,
            jobs=jobs,
            keep_going=keep_going,
            timeout=timeout,
            echo=echo,
            live=live,
        )
    echo(f"Results: {Path(output) / 'index.html'}")
    sys.exit(0 if all(outcome.status == "done" for outcome in outcomes) else 1)


@click.command()
@click.argument("notebooks", nargs=-1)
@click.option("--profile", help="smoke, cpu (the default) or gpu (the published protocols).")
@click.option(
    "--dataset", help="Data set, by name (see `kdcourse data list`) or a folder of images."
)
@click.option(
    "--param", "parameters", multiple=True, metavar="NAME=VALUE", help="As of `kdcourse run`."
)
def rehearse(notebooks, profile, dataset, parameters) -> None:
    """Estimate how long notebooks take on this machine, before they do.

    Runs them (all, if none is named) with one epoch of each training, 200 steps of it at most, and
    keeps nothing.

    \b
    Examples:
      kdcourse rehearse --profile gpu
      kdcourse rehearse 05 --profile gpu --param limit=5000

    Status: 0 all estimated, 1 a notebook failed, 2 a wrong argument, 130 stopped by Ctrl-C.
    """
    from kdcourse.running.rehearse import rehearse as estimates
    from kdcourse.running.selection import parse_parameter

    echo, live = lines()
    total, failed = 0.0, False
    given = dict(map(parse_parameter, parameters))
    with stoppable(echo, "Nothing is kept of a rehearsal."):
        for each in estimates(
            notebooks, profile=profile, dataset=dataset, parameters=given, live=live
        ):
            line = f"about {each.seconds / 60:5.1f} min  ({each.outcome.seconds:.0f} s looked at,"
            line += f" {each.done:,} of {each.done + each.left_out:,} training steps)"
            if each.outcome.status != "done":
                failed, line = True, f"{each.outcome.status}: {each.outcome.error}"
            echo(f"{each.outcome.name:<30}  {line}")
            total += each.seconds
    if not failed:
        echo(
            f"{'Together':<30}  about {total / 60:5.1f} min, one after the other, without set-up "
            "and downloads"
        )
    sys.exit(int(failed))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Check this machine: Python, packages, cores, memory, GPU, disk, folders, data.

    Each line says ok, or ! and what to do. Status: 0, or 1 if the course cannot be used as things
    are.

    \b
    Examples:
      kdcourse doctor
      kdcourse doctor --json
    """
    from kdcourse.running.doctor import doctor as look

    report = look()
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else str(report))
    sys.exit(0 if report.usable else 1)


@click.command()
@click.option("--reset", is_flag=True, help="Forget everything, after a question.")
def progress(reset: bool) -> None:
    """Which tasks of the exercises you have solved, with how many tries and hints; which questions
    of the quizzes.

    \b
    Examples:
      kdcourse progress
      kdcourse progress --reset
    """
    from kdcourse.checking import progress as kept
    from kdcourse.exercises import exercises as all_exercises
    from kdcourse.notebook import quiz

    if reset:
        click.confirm(f"Forget all progress in {kept.file()}?", abort=True)
        kept.reset()
        click.echo("Forgotten.")
        return
    known, trouble = kept.told()
    for name, tasks in all_exercises().items():
        done = [known.get(task.key, kept.EMPTY) for task in tasks.values()]
        click.echo(f"{name}: {sum(each['right'] for each in done)} of {len(tasks)} tasks right")
        if not any(each["tries"] or each["hints"] for each in done):
            continue
        for task, each in zip(tasks.values(), done, strict=True):
            helped = f"{each['hints']} of {len(task.hints)} hints" + (
                ", solution seen" if each["solution"] else ""
            )
            state = "right" if each["right"] else "tried" if each["tries"] else "-"
            tries = f"{each['tries']:>3} tries, {helped}  {each['when'][:10]}"
            line = f"  {task.title:<40} {state:<6} {tries}"
            click.echo(line.rstrip())
    for notebook in quiz.notebooks():
        answers = quiz.answered(notebook, known)
        click.echo(f"quiz {notebook}: {sum(answers)} of {len(answers)} questions right")
    click.echo(f"\n{trouble or f'Kept in {kept.file()}'}")
