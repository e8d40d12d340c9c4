"""One notebook, executed by papermill in a process of its own: this module, run with `-m`.

The worker's standard input is its lifeline: when it closes, however the parent ended, the worker
stops its kernel and removes its half-written output. So Ctrl-C, a time limit and a killed parent
are one and the same case.
"""

# common.processes.Pool isn't used here: it ends its processes by force, which would leave kernels
# behind, because a kernel runs in a process group of its own. This worker needs a session of its
# own, time to stop its kernel, and a log of everything that the kernel prints.

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kdcourse.common.errors import DataWarning
from kdcourse.common.files import move
from kdcourse.common.notebooks import tags, text
from kdcourse.running.selection import NotebookJob

REPLY = "kdcourse-reply: "  # begins the line by which a worker says how it went


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
            [sys.executable, "-m", "kdcourse.running.worker"],
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
        """What became of the notebook, once the process has ended. Moves the executed notebook to
        its final name.
        """
        reply = self._reply()
        ok = reply.get("ok", False) and not timed_out
        status = "done" if ok else "timed out" if timed_out or reply.get("timed_out") else "failed"
        outcome = NotebookOutcome(self.task.name, status, self.seconds, cells=self.task.code_cells)
        if status == "timed out":
            outcome.error = f"took longer than {self.timeout:g} s"
        elif not ok:
            outcome.error = reply.get("error", "the kernel did not say why")
        if notebook := self._written():
            self._describe(notebook, outcome)
            suffix = ".ipynb" if ok else ".failed.ipynb"
            outcome.file = self.output / f"{self.task.name}{suffix}"
            _redirect_links(self.partial, self.task.path.parent.parent)
            move(self.partial, outcome.file)
            if ok:
                (self.output / f"{self.task.name}.failed.ipynb").unlink(missing_ok=True)
        return outcome

    def _describe(self, notebook: dict, outcome: NotebookOutcome) -> None:
        """Enter into the outcome how far the cells came, and what they warned of."""
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        own = [cell for cell in code if "injected-parameters" not in tags(cell)]
        outcome.cells_run = sum(cell.get("execution_count") is not None for cell in own)
        outcome.notes = warned(code)
        begun = [cell for cell in code if cell["metadata"].get("papermill", {}).get("start_time")]
        if begun and outcome.status != "done":
            outcome.cell = text(begun[-1]["source"])

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


def _redirect_links(executed: Path, root: Path) -> None:
    """Rewrite a notebook's links to files of its checkout, `root`, so that they also work from the
    folder of the executed notebook.
    """
    # Only within the checkout: JupyterLab, which is started there, opens nothing outside it.
    if executed.resolve().is_relative_to(root.resolve()):
        back = Path(os.path.relpath(root, executed.parent)).as_posix()
        content = re.sub(
            r'(\]\(|href=\\")\.\./', rf"\g<1>{back}/", executed.read_text(encoding="utf-8")
        )
        executed.write_text(content, encoding="utf-8")


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


# --- in the process of a notebook -----------------------------------------------------------------


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


if __name__ == "__main__":
    work()
