"""Commands for instructors and authors: release, grade, badges and exercises."""

import sys
from pathlib import Path

import click

from kdcourse.cli.group import lines, stoppable


@click.command()
@click.argument("folder", metavar="DIR")
def release(folder) -> None:
    """Write what learners get: the exercises, what to install, a README; to DIR and to DIR.zip.

    Solutions, hidden tests and keys are not among it. An earlier release in DIR is replaced.

    \b
    Example:
      kdcourse release output/exercises
    """
    from kdcourse.grading.release import release as write

    click.echo(f"Released: {folder}, {write(folder)}")


@click.command()
@click.argument("submissions")
@click.option("--output", required=True, metavar="DIR", help="Folder for grades and feedback.")
@click.option("--jobs", type=int, metavar="N", help="Submissions at a time.  [default: one a core]")
@click.option(
    "--seconds",
    default=180.0,
    show_default=True,
    metavar="S",
    help="For a submission's code, in all.",
)
@click.option("--memory", default=2000, show_default=True, metavar="MB", help="For a submission.")
@click.option(
    "--unsandboxed",
    is_flag=True,
    help="Run students' code without a sandbox: it can do all that you can.",
)
def grade(submissions, output, jobs, seconds, memory, unsandboxed) -> None:
    """Grade exercises that were handed in: points, a page for each student, a report on the class.

    SUBMISSIONS: a folder with a folder or a notebook for each student, or the zip that a learning
    platform exports. Each task's cell is put into the instructor's notebook and run in a sandbox
    (bubblewrap), without network; it is judged outside. See docs/instructors.md for what a
    submission can do all the same.

    \b
    Examples:
      kdcourse grade submissions/ --output output/grades
      kdcourse grade class.zip --output output/grades --jobs 4

    Stop it, or let it be killed: the same command does only what is missing.

    Status: 0 all graded, or refused with a reason; 1 a submission is missing for a fault of this
    machine; 2 a wrong argument, or no sandbox; 130 stopped by Ctrl-C.
    """
    from kdcourse.grading.grade import grade as grade_all
    from kdcourse.grading.sandbox import Limits

    limits = Limits(seconds=seconds, memory=memory)
    echo, live = lines()
    with stoppable(echo, "What was graded is kept; the same command does the rest."):
        records = grade_all(
            submissions,
            output,
            jobs=jobs,
            sandboxed=not unsandboxed,
            limits=limits,
            echo=echo,
            live=live,
        )
    echo(f"Grades: {Path(output) / 'report.html'}, grades.csv and totals.csv beside it")
    sys.exit(1 if any(record.status == "failed" for record in records) else 0)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; status 1 if anything differs.")
def badges(check: bool) -> None:
    """Write Colab's badge and setup lines into every notebook and solution.

    Both follow from `[project.urls] Repository` in pyproject.toml: change it there, then run this.

    \b
    Examples:
      kdcourse badges
      kdcourse badges --check
    """
    from kdcourse.notebook.badges import badges as write

    differing = write(check)
    for line in differing:
        click.echo(f"{line} {'differs' if check else 'written'}")
    sys.exit(1 if check and differing else 0)


@click.group()
def exercises() -> None:
    """Make the exercises of the solutions.

    \b
    Example:
      kdcourse exercises build
    """


@exercises.command("build")
@click.option(
    "--check", is_flag=True, help="Change nothing; status 1 if any exercise is out of step."
)
@click.option("--force", is_flag=True, help="Overwrite exercises that were edited by hand, too.")
def build_exercises(check: bool, force: bool) -> None:
    """Write exercises/ from solutions/: solutions become stubs, hidden tests and outputs go.

    Exercises that were edited by hand, as those that you solve there are, stay unless --force.

    \b
    Examples:
      kdcourse exercises build
      kdcourse exercises build --check
    """
    from kdcourse.exercises.build import build

    out_of_step = build(check=check, force=force)
    for path in out_of_step:
        click.echo(
            f"{path} {'is out of step with its solution, or has none' if check else 'written'}"
        )
    sys.exit(1 if check and out_of_step else 0)
