"""Run notebooks from the command line: `kdcourse run`.

Each notebook is executed by papermill in a worker process of its own (this module, run with `-m`).
The worker's
standard input is its lifeline: when it closes, however the parent ended, the worker stops its
kernel and takes away what is half-written. So Ctrl-C, a time limit and a parent that was killed are
one and the same case.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse.common.errors import DataError, DataWarning, UsageError, unknown
from kdcourse.common.notebooks import read_notebook, tags, text
from kdcourse.common.paths import checkout, data_root
from kdcourse.common.profiles import profile as find_profile
from kdcourse.common.system import cores
from kdcourse.running.doctor import where
from kdcourse.running.index import write_index

# Seconds that a notebook may take before it is stopped and tried once more.
TIMEOUTS = {"smoke": 1800, "cpu": 3600, "gpu": 86400}

REPLY = "kdcourse-reply: "  # begins the line by which a worker says how it went

Echo = Callable[[str], None]


@dataclass
class NotebookJob:
    """A notebook to run, with the parameters that it knows."""

    path: Path
    known: set[str]
    code_cells: int
    needs: frozenset[str] = frozenset()  # notebooks whose networks it loads
    parameters: dict = field(default_factory=dict)
    attempt: int = 1

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass
class NotebookOutcome:
    """What became of a notebook. `status`: done, failed, timed out, interrupted or not run."""

    name: str
    status: str = "not run"
    seconds: float = 0.0
    cells_run: int = 0
    cells: int = 0
    file: Path | None = None  # the executed notebook
    error: str = ""  # the traceback's last line
    cell: str = ""  # source of the cell that broke
    notes: tuple[str, ...] = ()  # what it warned of about the data


# --- which notebooks ------------------------------------------------------------------------------


def notebooks_folder() -> Path:
    root = checkout()
    return (root or Path.cwd()) / "notebooks"


def select(names: Sequence[str] = ()) -> list[Path]:
    """Paths of the notebooks called `names`: names ("03_baselines"), numbers ("03") or paths; by
    default all.

    Raises UsageError for a name that no notebook has, a missing file, or two notebooks that would
    share an output.
    """
    folder = notebooks_folder()
    course = {path.stem: path for path in sorted(folder.glob("0*.ipynb"))}
    if not names and not course:
        raise UsageError(
            f"no notebooks in {folder}. Run this in a checkout of the course, or name notebooks by "
            "path."
        )
    paths = [_find(name, course, folder) for name in names] or list(course.values())
    stems = [path.stem for path in paths]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UsageError(
            f"{', '.join(sorted(twice))}: named twice; their outputs would overwrite each other."
        )
    return paths


def _find(name: str, course: dict[str, Path], folder: Path) -> Path:
    if name in course:
        return course[name]
    if name.isdecimal():
        for stem, path in course.items():
            if stem.split("_")[0] == name.zfill(2):
                return path
    elif name.endswith(".ipynb") or os.sep in name:
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"notebook {name}: no such file.")
        return path
    if not course:
        raise UsageError(f"notebook {name!r}: there are no notebooks in {folder}. Name it by path.")
    raise unknown("notebook", name, course)


def prepare(path: Path) -> NotebookJob:
    """A task for the notebook: which parameters it knows (papermill), how many code cells it has.

    Raises DataError if it is no Python notebook or has no cell tagged `parameters`.
    """
    import papermill

    notebook = read_notebook(path)
    metadata = notebook.get("metadata", {})
    kernel = metadata.get("kernelspec", {})
    language = metadata.get("language_info", {}).get("name") or kernel.get("language")
    if language != "python":
        raise DataError(
            f"{path} is a notebook for {language or 'no language'} (kernel "
            f"{kernel.get('name', 'not named')!r}); "
            "the course runs Python. Choose the kernel 'Python 3' in JupyterLab and save."
        )
    if not any("parameters" in tags(cell) for cell in notebook["cells"]):
        raise DataError(
            f"{path} has no cell tagged `parameters`, so a profile or data set cannot reach it. "
            "Add the tag to the "
            'cell that holds `profile = None` and `dataset = "scenes"`.'
        )
    code_cells = sum(
        cell["cell_type"] == "code" and bool(text(cell["source"]).strip())
        for cell in notebook["cells"]
    )
    needs = frozenset(metadata.get("kdcourse", {}).get("needs", ()))
    return NotebookJob(path, set(papermill.inspect_notebook(path)), code_cells, needs)


def warned(cells: list[dict]) -> tuple[str, ...]:
    """The DataWarnings that executed cells printed, each once."""
    outputs = [
        output
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    found = re.findall(
        rf"\b{DataWarning.__name__}: (.+)", "".join(text(output["text"]) for output in outputs)
    )
    return tuple(dict.fromkeys(found))


# --- their parameters -----------------------------------------------------------------------------


def parse_parameter(assignment: str) -> tuple[str, object]:
    """`"limit=300"` to `("limit", 300)`. Values are Python or YAML: 1e-3, none, true, [1, 2];
    anything else is text.

    Raises UsageError if there is no name or no `=`.
    """
    import ast

    import yaml

    name, equals, value = assignment.partition("=")
    if not equals or not name.strip().isidentifier():
        raise UsageError(
            f"--param {assignment!r}: expected NAME=VALUE, for example --param limit=300."
        )
    try:
        parsed = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
    if not isinstance(parsed, str | int | float | bool | list | None):
        parsed = value  # a date or a mapping stays text
    return name.strip(), parsed


def assign(tasks: list[NotebookJob], parameters: dict[str, object], echo: Echo) -> None:
    """Give each notebook those of `parameters` that it knows.

    Raises UsageError for a parameter that none of them knows.
    """
    for name, value in parameters.items():
        knowing = [task for task in tasks if name in task.known]
        if not knowing:
            raise unknown("parameter", name, set().union(*(task.known for task in tasks)))
        for task in knowing:
            task.parameters[name] = value
        if len(knowing) < len(tasks):
            echo(
                f"Note: only {', '.join(task.name for task in knowing)} know the parameter {name}."
            )


def find_dataset(name: str) -> str:
    """The data set's name, or the absolute path of a folder of images (a notebook runs in its own
    folder).

    Raises UsageError if it is neither, DataError if the files or the folder are not here.
    """
    from kdcourse.data.catalog import CATALOG, dataset_info

    info = dataset_info(name)
    if name in CATALOG:
        if not where(info, data_root()):
            info.found(None)  # raises the error that says how to get it
        return name
    return os.path.abspath(os.path.expanduser(name))


# --- the kernel -----------------------------------------------------------------------------------


def check_kernel() -> None:
    """Raise UsageError unless the kernel `python3` is the interpreter that runs this."""
    try:
        import ipykernel  # noqa: F401
        import papermill  # noqa: F401
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        raise UsageError(
            f"running notebooks needs {error.name}: pip install 'kdcourse[lab]'."
        ) from error
    repair = f"Repair it: {sys.executable} -m ipykernel install --sys-prefix"
    try:
        command = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel as error:
        raise UsageError(
            f"there is no Jupyter kernel python3 for {sys.executable}. {repair}"
        ) from error
    # A bare "python" is replaced by the running interpreter; a path is taken as it stands. Not
    # `samefile` of the programs themselves: those of all virtual environments are links to the same
    # one.
    if command.is_absolute() and command.parent.resolve() != Path(sys.executable).parent.resolve():
        raise UsageError(
            f"the Jupyter kernel python3 runs {command}, not {sys.executable}. {repair}"
        )


def kernel_environment(profile: str, jobs: int) -> dict[str, str]:
    environment = dict(
        os.environ, KDCOURSE_PROFILE=profile, JUPYTER_PREFER_ENV_PATH="1", TQDM_DISABLE="1"
    )
    for name in ("KDCOURSE_DATA", "KDCOURSE_WORK"):  # a kernel starts in the notebook's folder
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, cores() // jobs))
    return environment


# --- one notebook ---------------------------------------------------------------------------------


class Worker:
    """One notebook being executed in a process of its own."""

    def __init__(
        self, task: NotebookJob, output: Path, environment: dict[str, str], timeout: float
    ):
        self.task, self.output, self.timeout = task, output, timeout
        self.partial = output / f".{task.name}.partial.ipynb"
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.started = time.monotonic()
        # A session of its own: the terminal's Ctrl-C reaches the parent alone, which then closes
        # the lifeline.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdcourse.running.run"],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            env=environment,
            text=True,
            start_new_session=True,
        )
        job = {
            "input": str(task.path),
            "partial": str(self.partial),
            "parameters": task.parameters,
            "timeout": timeout,
        }
        with contextlib.suppress(
            BrokenPipeError
        ):  # a worker that died at once is seen by `outcome`
            print(json.dumps(job), file=self.process.stdin, flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def late(self) -> bool:
        return self.seconds > self.timeout

    def finished(self) -> bool:
        return self.process.poll() is not None

    def stop(self, *, keep_partial: bool = False) -> None:
        """Close the lifeline; end the worker by force if it does not follow."""
        import psutil

        with contextlib.suppress(BrokenPipeError):
            if keep_partial:
                self.process.stdin.write("keep\n")
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            tree = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if not keep_partial:
                self.partial.unlink(missing_ok=True)

    def outcome(self, *, timed_out: bool = False) -> NotebookOutcome:
        """What came of it, once the process has ended; puts the executed notebook into its
        place.
        """
        reply = self._reply()
        ok = reply.get("ok", False) and not timed_out
        status = "done" if ok else "timed out" if timed_out or reply.get("timed_out") else "failed"
        outcome = NotebookOutcome(self.task.name, status, self.seconds, cells=self.task.code_cells)
        if not ok:
            limit = f"took longer than {self.timeout:g} s"
            outcome.error = (
                limit if status == "timed out" else reply.get("error", "the kernel did not say why")
            )
        if notebook := self._written():
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            own = [cell for cell in code if "injected-parameters" not in tags(cell)]
            outcome.cells_run = sum(cell.get("execution_count") is not None for cell in own)
            outcome.notes = warned(code)
            begun = [
                cell for cell in code if cell["metadata"].get("papermill", {}).get("start_time")
            ]
            if begun and not ok:
                outcome.cell = text(begun[-1]["source"])
            outcome.file = self.output / (
                f"{self.task.name}.ipynb" if ok else f"{self.task.name}.failed.ipynb"
            )
            _lead_back(self.partial, self.task.path.parent.parent)
            os.replace(self.partial, outcome.file)
            if ok:
                (self.output / f"{self.task.name}.failed.ipynb").unlink(missing_ok=True)
        return outcome

    def _reply(self) -> dict:
        """The worker's reply, or else the last line of its log. The log also holds what the kernel
        printed.
        """
        with self.log:
            self.log.seek(0)
            lines = [line for line in self.log.read().splitlines() if line.strip()]
        for line in reversed(lines):
            if line.startswith(REPLY):
                return json.loads(line.removeprefix(REPLY))
        return {
            "error": lines[-1]
            if lines
            else f"the worker ended with status {self.process.returncode}"
        }

    def _written(self) -> dict | None:
        """The notebook as far as it was written; None (and no file) if it was cut short while being
        written.
        """
        try:
            return json.loads(self.partial.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self.partial.unlink(missing_ok=True)
            return None


def _lead_back(executed: Path, root: Path) -> None:
    """Links of a notebook to files of its checkout, root, lead there from the folder of the
    executed one, too.

    Not from outside the checkout, where JupyterLab, which is started in it, opens nothing.
    """
    if executed.resolve().is_relative_to(root.resolve()):
        back = Path(os.path.relpath(root, executed.parent)).as_posix()
        content = re.sub(
            r'(\]\(|href=\\")\.\./', rf"\g<1>{back}/", executed.read_text(encoding="utf-8")
        )
        executed.write_text(content, encoding="utf-8")


def work() -> None:
    """The worker process: executes the notebook that the first line of standard input names,
    replies in a line.
    """
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch_lifeline, args=(Path(job["partial"]),), daemon=True).start()

    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            job["input"],
            job["partial"],
            parameters=job["parameters"],
            kernel_name="python3",
            cwd=Path(job["input"]).parent,
            progress_bar=False,
            execution_timeout=max(1, round(job["timeout"])),
            extra_arguments=["--IPKernelApp.log_level=40"],  # else ipykernel 7 warns of TCP
        )
        reply = {"ok": True}
    except PapermillExecutionError as error:
        reply = {"error": f"{error.ename}: {error.evalue}"}
    except DeadKernelError:
        reply = {"error": "the kernel died: out of memory, or ended by the cell itself"}
    except CellTimeoutError:
        reply = {"timed_out": True}
    print(f"\n{REPLY}{json.dumps(reply)}", flush=True)


def _watch_lifeline(partial: Path) -> None:
    """Wait until standard input says `keep` or ends; then stop the kernel and this process."""
    import psutil

    keep = sys.stdin.readline().strip() == "keep"
    family = psutil.Process().children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=2)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if not keep:
        partial.unlink(missing_ok=True)
    os._exit(1)


# --- all of them ----------------------------------------------------------------------------------


def run(
    names: Sequence[str] = (),
    *,
    profile: str | None = None,
    dataset: str | None = None,
    parameters: dict[str, object] | None = None,
    output: str | os.PathLike = "output/course",
    jobs: int = 1,
    keep_going: bool = False,
    timeout: float | None = None,
    environment: dict[str, str] | None = None,
    echo: Echo = print,
    live: Echo | None = None,
) -> list[NotebookOutcome]:
    """Execute notebooks and write them, with an `index.html`, to the folder `output`; one
    NotebookOutcome a notebook.

    `jobs` notebooks at a time, each with its share of the cores. `timeout`: seconds a notebook may
    take; one that takes longer is stopped and tried once more. `environment`: variables for the
    kernels, besides those they have. A line a notebook goes to `echo`; a line that may be
    overwritten goes to `live` several times a second. Raises UsageError and DataError before
    anything is run. On KeyboardInterrupt kernels are stopped, unfinished outputs removed and the
    index written before it is passed on.
    """
    chosen = find_profile(profile).name
    timeout = TIMEOUTS[chosen] if timeout is None else timeout
    if timeout <= 0 or jobs < 1:
        raise UsageError(f"--timeout and --jobs must be positive, not {timeout} and {jobs}.")
    data_root()  # a data root that does not exist is said before anything runs
    check_kernel()
    tasks = [prepare(path) for path in select(names)]
    if dataset is not None:
        dataset = find_dataset(dataset)
    given = {"profile": chosen, "dataset": dataset, **(parameters or {})}
    assign(
        tasks, {name: value for name, value in given.items() if _wanted(name, value, tasks)}, echo
    )
    folder = _output_folder(Path(output), tasks)

    outcomes = {task.name: NotebookOutcome(task.name, cells=task.code_cells) for task in tasks}
    environment = kernel_environment(chosen, jobs) | (environment or {})
    waiting = {task.name: sum(task.name in other.needs for other in tasks) for task in tasks}
    queue = deque(tasks if jobs == 1 else sorted(tasks, key=lambda task: -waiting[task.name]))
    running = []
    width = max(map(len, outcomes))
    try:
        while queue or running:
            while queue and len(running) < jobs and (task := _next(queue, running)):
                queue.remove(task)
                running.append(Worker(task, folder, environment, timeout))
            for worker in list(running):
                late = worker.late() and not worker.finished()
                if late:
                    worker.stop(keep_partial=True)
                if not worker.finished():
                    continue
                running.remove(worker)
                outcome = worker.outcome(timed_out=late)
                if outcome.status == "timed out" and worker.task.attempt == 1:
                    echo(
                        f"{outcome.name:<{width}}  took longer than {timeout:g} s: stopped, trying "
                        "once more"
                    )
                    worker.task.attempt = 2
                    queue.appendleft(worker.task)
                    continue
                outcomes[outcome.name] = outcome
                echo(_line(outcome, width))
                write_index(folder, outcomes.values(), chosen, dataset, parameters)
                if outcome.status != "done" and not keep_going:
                    queue.clear()
            if live:
                live(
                    ", ".join(f"{worker.task.name} {_clock(worker.seconds)}" for worker in running)
                )
            time.sleep(0.1)
    finally:
        for worker in running:
            worker.stop()
            outcomes[worker.task.name].status = "interrupted"
            outcomes[worker.task.name].seconds = worker.seconds
        write_index(folder, outcomes.values(), chosen, dataset, parameters)
    return list(outcomes.values())


def _next(queue: Sequence[NotebookJob], running: Sequence[Worker]) -> NotebookJob | None:
    """The first notebook that needs none which is still to end: else it would train the same
    networks beside it.
    """
    unfinished = {task.name for task in queue} | {worker.task.name for worker in running}
    ready = [task for task in queue if not task.needs & (unfinished - {task.name})]
    if not ready and not running:  # they need one another: in their order, then
        return queue[0]
    return ready[0] if ready else None


def _wanted(name: str, value: object, tasks: list[NotebookJob]) -> bool:
    """The profile also goes by the environment, so notebooks need not have it as a parameter; no
    data set, no word.
    """
    if name == "profile":
        return any(name in task.known for task in tasks)
    return name != "dataset" or value is not None


def _output_folder(output: Path, tasks: list[NotebookJob]) -> Path:
    folder = output.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be made a folder ({error.strerror})."
        ) from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--output {output}: not writable. Name another folder.")
    for task in tasks:
        if task.path.parent == folder.resolve():
            raise UsageError(
                f"--output {output} holds {task.path.name} itself, which would be overwritten."
            )
    return folder


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _line(outcome: NotebookOutcome, width: int) -> str:
    line = f"{outcome.name:<{width}}  {outcome.status:<9}  {_clock(outcome.seconds):>6}"
    line += f"  {outcome.cells_run} of {outcome.cells} cells"
    line += "".join(f"\n    {note}" for note in outcome.notes)
    if outcome.status == "done":
        return line
    if outcome.cell:
        line += "\n\n    " + outcome.cell.rstrip().replace("\n", "\n    ") + "\n"
    line += f"\n    {outcome.error}"
    return line + (f"\n    Kept as {outcome.file}" if outcome.file else "")


if __name__ == "__main__":
    work()
