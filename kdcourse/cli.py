"""The command line: `kdcourse run`, `kdcourse reproduce`, `kdcourse predict` and others: see
`kdcourse --help`.

What a command needs is imported inside it, so that `--help` is there at once (PyTorch takes seconds
to import).
"""

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from kdcourse.common.errors import KDCourseError, UsageError, with_pointer
from kdcourse.common.paths import errors_page


class CourseError(click.ClickException):
    """An error that the course raises on purpose: one message, no traceback, status 2."""

    exit_code = 2


class Course(click.Group):
    """A group that shows KDCourseErrors, and what the system refuses (a full disk, a closed
    folder), as messages.

    --debug asks for the traceback.
    """

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except KDCourseError as error:
            if context.params.get("debug"):
                raise
            raise CourseError(with_pointer(error, errors_page())) from error
        except OSError as error:
            if (
                context.params.get("debug") or not error.filename
            ):  # without a file: a closed pipe, which click knows
                raise
            raise CourseError(
                f"{error.filename}: {error.strerror}. `kdcourse --debug …` shows where."
            ) from error


@click.group(
    cls=Course, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="kdcourse", prog_name="kdcourse")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Knowledge distillation, as a course: run its notebooks, get its data, check this machine.

    \b
    Examples:
      kdcourse doctor                          is this machine ready?
      kdcourse run                             all notebooks
      kdcourse run 03 --dataset eurosat_ms     one notebook, on real satellite tiles
      kdcourse rehearse --profile gpu          how long it would take here
      kdcourse data list                       which data sets there are, which are here
      kdcourse export data/models/student.pt   a trained network as an ONNX file
      kdcourse predict student.onnx tiles/     the class of each image
      kdcourse map student.onnx scene.tif      a map of the classes in a large scene

    KDCOURSE_DATA names the folder with the data sets, KDCOURSE_WORK the one for what the course
    makes, KDCOURSE_PROFILE the profile.
    """


def _lines():
    """Two writers: of a line that stays, and, in a terminal, of one that the next replaces."""
    terminal = sys.stdout.isatty()

    def echo(line: str) -> None:
        click.echo(("\r\x1b[K" if terminal else "") + line)

    def live(line: str) -> None:
        click.echo("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], nl=False)

    return echo, live if terminal else None


@contextmanager
def _stoppable(echo: Callable[[str], None], kept: str) -> Iterator[None]:
    """Ctrl-C says what is kept and ends with status 130; a polite kill stops what was started as
    Ctrl-C does.
    """
    with _tidy_when_killed():
        try:
            yield
        except KeyboardInterrupt:
            echo(f"Stopped. {kept}")
            sys.exit(130)


@contextmanager
def _tidy_when_killed() -> Iterator[None]:
    """A polite kill runs what stands behind `finally`, as Ctrl-C does, and ends with status 143."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- run ------------------------------------------------------------------------------------------


@main.command()
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
    echo, live = _lines()
    with _stoppable(
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


@main.command()
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

    echo, live = _lines()
    total, failed = 0.0, False
    given = dict(map(parse_parameter, parameters))
    with _stoppable(echo, "Nothing is kept of a rehearsal."):
        for each in estimates(
            notebooks, profile=profile, dataset=dataset, parameters=given, live=live
        ):
            said = f"about {each.seconds / 60:5.1f} min  ({each.outcome.seconds:.0f} s looked at,"
            said += f" {each.done:,} of {each.done + each.left_out:,} training steps)"
            if each.outcome.status != "done":
                failed, said = True, f"{each.outcome.status}: {each.outcome.error}"
            echo(f"{each.outcome.name:<30}  {said}")
            total += each.seconds
    if not failed:
        echo(
            f"{'Together':<30}  about {total / 60:5.1f} min, one after the other, without set-up "
            "and downloads"
        )
    sys.exit(int(failed))


# --- reproduce and report -------------------------------------------------------------------------


def _listed(context, parameter, value: str | None) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(filter(None, map(str.strip, (value or "").split(","))))


@main.command()
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
    experiment,
    profile,
    datasets,
    methods,
    seeds,
    limit,
    networks,
    output,
    engine,
    address,
    jobs,
    threads,
    tensorboard,
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
    from kdcourse.common.errors import unknown
    from kdcourse.common.profiles import profile as find_profile
    from kdcourse.experiments import grid
    from kdcourse.experiments.registry import experiment_class
    from kdcourse.experiments.report import write

    settings = find_profile(profile)
    kind = experiment_class(experiment)
    recipe = kind(
        settings, datasets=datasets, methods=methods, seeds=seeds, limit=limit,
        networks=networks or ("published" if settings.name == "gpu" else "thin"),
    )  # fmt: skip
    if engine not in ("local", "ray"):
        raise unknown("engine", engine, ("local", "ray"))
    if engine == "ray":
        from kdcourse.experiments.cluster import Ray

        executes = Ray(address, jobs=jobs, threads=threads)
    else:
        from kdcourse.experiments.engines import Local

        executes = Local(jobs, threads=threads)
    folder = Path(output or f"output/{experiment}")
    echo, live = _lines()
    with _stoppable(echo, "What was done is kept; the same command does the rest."):
        logs = grid.tensorboard(folder) if tensorboard else None
        progress = grid.reproduce(recipe, folder, executes, echo=echo, live=live, ended=logs)
    echo(f"Report: {write(folder)}")
    sys.exit(1 if progress.failed else 0)


@main.command()
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

    echo, _ = _lines()
    echo(f"Report: {write(results, output)}")
    if pack:
        echo(f"Packed: {pack_results(results, pack)}")


# --- export, predict and map ----------------------------------------------------------------------


@main.command()
@click.argument("checkpoint")
@click.option(
    "--format", "kind", default="onnx", show_default=True, help="onnx, or pt2 (PyTorch's own)."
)
@click.option("--int8", is_flag=True, help="Quantise it, calibrated on validation images (onnx).")
@click.option(
    "--output",
    metavar="FILE",
    help="The file to write.  [default: named after the checkpoint, here]",
)
@click.option("--dataset", help="Data to compare answers on.  [default: what it was trained on]")
@click.option(
    "--no-check",
    is_flag=True,
    help="Go without data: answers are compared on made-up images alone.",
)
def export(checkpoint, kind, int8, output, dataset, no_check) -> None:
    """Write a trained network to one file that takes raw images, and compare its answers.

    CHECKPOINT: a file that `load_or_train` kept, in the folder models/ of the work folder.

    Normalisation is in the file; class names, bands and image size are in its metadata. It is
    written only if its logits are within 1e-4 (of the largest) of PyTorch's in float32. int8
    differs more: by how much is shown.

    \b
    Examples:
      kdcourse export data/models/student-0123456789abcdef.pt
      kdcourse export student.pt --int8 --output student.int8.onnx
      kdcourse export student.pt --format pt2 --no-check

    Needs the extra `deploy`.
    """
    from kdcourse.shipping.export import export_checkpoint

    with _tidy_when_killed():
        done = export_checkpoint(
            checkpoint, output, format=kind, int8=int8, dataset=dataset, check=not no_check
        )
    click.echo(str(done))


@main.command()
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, metavar="FILES...")
@click.option(
    "--csv",
    "output",
    metavar="OUT",
    help="Also write a CSV file with the probabilities of all classes.",
)
@click.option("--batch-size", default=64, show_default=True, metavar="N", help="Images at a time.")
def predict(model, paths, output, batch_size) -> None:
    """The class of each image, and its probability: file, class, probability, with tabs between.

    MODEL: an ONNX file of `kdcourse export`. FILES: GeoTIFFs or images, as the model takes them, or
    folders. They are resized to the model's size as the training images were. PyTorch is not
    needed.

    \b
    Examples:
      kdcourse predict student.onnx tile.tif
      kdcourse predict student.onnx tiles/ --csv classes.csv

    Status: 0 all done, 1 a file could not be used (it is named, the others are done), 2
      a wrong argument.
    """
    from kdcourse.common.errors import DataError
    from kdcourse.shipping import predict as shipped

    network, status = shipped.Model(model), 0
    with shipped.table(output, network.classes) as write:
        for path, answer in shipped.predict(network, paths, batch_size):
            if isinstance(answer, DataError):
                click.echo(f"{answer}", err=True)
                status = 1
                continue
            best = answer.argmax()
            click.echo(f"{path}\t{network.classes[best]}\t{answer[best]:.4f}")
            write(path, answer)
    sys.exit(status)


@main.command("map")
@click.argument("model")
@click.argument("scene")
@click.option("--output", metavar="FILE", help="The map.  [default: SCENE_map.tif, here]")
@click.option(
    "--tile",
    default=64,
    show_default=True,
    metavar="N",
    help="Pixels a side of what gets one class.",
)
@click.option(
    "--step",
    type=int,
    metavar="N",
    help="Finer: a class for every N pixels, of the tile around them.",
)
def map_(model, scene, output, tile, step) -> None:
    """Classify a large scene tile by tile, and write the classes as a map.

    MODEL: an ONNX file of `kdcourse export`. SCENE: a GeoTIFF with the model's bands, of any size.
    It is read strip by strip. The map is a GeoTIFF of the same size and place, with a colour table
    and the names of the classes in its tags; where the scene has no data it has none. PyTorch is
    not needed.

    \b
    Examples:
      kdcourse data make wide --output scene.tif
      kdcourse map student.onnx scene.tif --output map.tif
      kdcourse map student.onnx scene.tif --step 16
    """
    from kdcourse.shipping import maps
    from kdcourse.shipping.predict import Model

    output = output or f"{Path(scene).stem}_map.tif"
    click.echo(str(maps.classify(Model(model), scene, output, tile=tile, step=step)))


# --- release and grade ----------------------------------------------------------------------------


@main.command()
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


@main.command()
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
    echo, live = _lines()
    with _stoppable(echo, "What was graded is kept; the same command does the rest."):
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


# --- doctor ---------------------------------------------------------------------------------------


@main.command()
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


# --- badges ---------------------------------------------------------------------------------------


@main.command()
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


# --- exercises and progress -----------------------------------------------------------------------


@main.group()
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


@main.command()
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
            line = f"  {task.title:<40} {state:<6} {each['tries']:>3} tries, {helped}  {each['when'][:10]}"
            click.echo(line.rstrip())
    for notebook in quiz.notebooks():
        answers = quiz.answered(notebook, known)
        click.echo(f"quiz {notebook}: {sum(answers)} of {len(answers)} questions right")
    click.echo(f"\n{trouble or f'Kept in {kept.file()}'}")


# --- data -----------------------------------------------------------------------------------------


@main.group()
def data() -> None:
    """List, make and get data sets.

    \b
    Examples:
      kdcourse data list
      kdcourse data info eurosat_ms
      kdcourse data get fashion_mnist
      kdcourse data make scenes --count 300
    """


@data.command("list")
def list_data() -> None:
    """All data sets, and where those that are here lie."""
    from kdcourse.common.paths import data_root
    from kdcourse.data.catalog import CATALOG
    from kdcourse.running.doctor import where

    root = data_root()
    rows = [("Name", "Classes", "Channels", "Here", "Title")]
    for name, info in CATALOG.items():
        classes = str(len(info.classes)) if info.classes else "by file"
        rows.append((name, classes, str(len(info.channels)), where(info, root) or "no", info.title))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    click.echo(f"\nData root: {root}. More on one: kdcourse data info NAME")


@data.command()
@click.argument("name")
def info(name: str) -> None:
    """What a data set is, where it is, how to get it.

    \b
    Example:
      kdcourse data info eurosat_ms
    """
    from kdcourse.common.errors import unknown
    from kdcourse.common.paths import data_root
    from kdcourse.data.catalog import CATALOG
    from kdcourse.data.fetch import DOWNLOADS
    from kdcourse.running.doctor import where

    if name not in CATALOG:
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: a folder of your own. Run a notebook on it: kdcourse run 01 --dataset "
                f"{name!r}"
            )
        raise unknown("data set", name, CATALOG)
    entry, root = CATALOG[name], data_root()
    here = where(entry, root)
    facts = {
        "Title": entry.title,
        "About": entry.about,
        "Classes": ", ".join(entry.classes) if entry.classes else "as the files say",
        "Channels": ", ".join(entry.channels),
        "Image size": f"{entry.image_size} pixels" if entry.image_size else "as the files have it",
        "Test set": "official" if entry.official_test else "split off by the course",
        "Source": entry.source,
        "Licence": entry.licence,
        "Layout": entry.layout,
        "Here": (here or f"no, not under {root}") + _content(entry, root),
    }
    if not here:
        facts["Get it"] = (
            f"kdcourse data get {name}" if name in DOWNLOADS else "by hand, laid out as above"
        )
    for label, fact in facts.items():
        click.echo(f"{label + ':':<12}{fact}")


def _content(entry, root: Path) -> str:
    """Number and size of the files of a data set that lies in folders, else nothing."""
    from dataclasses import replace

    folder = replace(entry, archives=()).find(root) if entry.folders else None
    if folder is None:
        return ""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f" ({len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB)"


@data.command()
@click.argument("name")
def get(name: str) -> None:
    """Download a data set into the data root, unless it is there.

    Broken downloads go on where they ended; checksums are compared.

    \b
    Example:
      kdcourse data get fashion_mnist
    """
    from kdcourse.data.fetch import get as fetch

    click.echo(f"{name}: {fetch(name)}")


@data.group()
def make() -> None:
    """Make synthetic data."""


@make.command()
@click.option(
    "--count",
    type=int,
    help="Tiles in all; those that exist are kept.  [default: as many as the course uses]",
)
@click.option("--seed", default=0, show_default=True, help="Another seed, other scenes.")
@click.option(
    "--difficulty", type=float, help="From 0 (easy) to 1 (hard).  [default: as in the course]"
)
@click.option(
    "--output",
    metavar="DIR",
    help="Folder for the tiles.  [default: where the course looks for them]",
)
@click.option("--jobs", type=int, metavar="N", help="Processes.  [default: one a core]")
def scenes(count, seed, difficulty, output, jobs) -> None:
    """Write synthetic Sentinel-2 tiles as GeoTIFFs in EuroSAT's layout.

    \b
    Examples:
      kdcourse data make scenes
      kdcourse data make scenes --count 100 --seed 1 --output my_scenes
    """
    from kdcourse.common.paths import work_dir
    from kdcourse.data.catalog import SCENES
    from kdcourse.data.scenes import DEFAULT_DIFFICULTY, make_scenes

    folder = make_scenes(
        output or work_dir() / "scenes",
        SCENES if count is None else count,
        seed=seed,
        difficulty=DEFAULT_DIFFICULTY if difficulty is None else difficulty,
        jobs=jobs,
    )
    click.echo(f"Scenes: {folder}")


@make.command()
@click.option("--size", default=2048, show_default=True, metavar="N", help="Pixels a side.")
@click.option("--seed", default=0, show_default=True, help="Another seed, another land.")
@click.option(
    "--output", default="scene.tif", show_default=True, metavar="FILE", help="The GeoTIFF."
)
def wide(size, seed, output) -> None:
    """Write one large synthetic Sentinel-2 scene as a GeoTIFF, for `kdcourse map`.

    \b
    Example:
      kdcourse data make wide --size 4096 --output scene.tif
    """
    from kdcourse.data.large_scene import make_wide_scene

    make_wide_scene(output, size, seed=seed)
    click.echo(f"Scene: {output}")


if __name__ == "__main__":
    main()
