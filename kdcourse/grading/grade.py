"""Grade submissions: `kdcourse grade`.

Each submission is judged by a process of its own, which has the student's code run in a sandbox
(see `kdcourse.grading`). Its result is a file, written when it is done: a killed grading goes on
where it was.
"""

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdcourse import __version__
from kdcourse.checking import safe_call
from kdcourse.common.errors import DataError, KDCourseError, UsageError
from kdcourse.common.paths import checkout
from kdcourse.common.processes import Message, Place, Pool, Result
from kdcourse.common.system import cores
from kdcourse.exercises import bug_cases, modules
from kdcourse.grading import report, sandbox
from kdcourse.grading.collect import Submission, collect
from kdcourse.grading.merge import Exercise, Refused, assemble, instructor_steps, read, recognise
from kdcourse.grading.sandbox import Limits

Echo = Callable[[str], None]
PRELOAD = ("kdcourse.grading.grade", "kdcourse.grading.judge")
REFERENCE = ""  # in a student's place: no student's name is empty


@dataclass(frozen=True)
class Job:
    """One submission of one exercise to be judged."""

    student: str
    name: str
    exercise: Exercise
    path: Path
    key: str  # of everything that its result depends on
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{report.slug(self.student)}.{self.exercise.name}.json"


@dataclass
class Record:
    """The result of a submission. status: "graded", "refused", or "failed" for want of a working
    machine.
    """

    student: str
    exercise: str
    name: str
    status: str
    reason: str = ""
    key: str = ""
    sandboxed: bool = True
    notes: list[str] = field(default_factory=list)
    tasks: list[dict] = field(default_factory=list)
    seconds: float = 0.0


def exercises() -> list[Exercise]:
    """The course's exercises, by their solutions. Raises UsageError where there are none."""
    root = checkout()
    paths = sorted((root / "solutions").glob("sol_*.ipynb")) if root else []
    if not paths:
        raise UsageError(
            "there are no solutions here: grading needs solutions/ of the repository. Run kdcourse "
            "from a checkout (pip install -e .)."
        )
    known = modules()
    names = [(f"ex{path.stem.split('_')[1]}", path) for path in paths]
    return [Exercise(name, path, known[name]) for name, path in names]


def grade(
    submissions: str | os.PathLike,
    output: str | os.PathLike,
    *,
    jobs: int | None = None,
    sandboxed: bool = True,
    limits: Limits = Limits(),  # noqa: B008  frozen
    of: Sequence[Exercise] | None = None,
    echo: Echo = print,
    live: Echo | None = None,
) -> list[Record]:
    """Grade a folder or zip of submissions; one Record a submission.

    Writes to `output`: results/ (a JSON file each), grades.csv, totals.csv, feedback/ (a page a
    student), report.html. What is there already, of the same notebook and the same exercise, is not
    graded again.

    Raises UsageError where there is no sandbox and one is asked for, nothing to grade, or a
    reference does not pass.
    """
    jobs = min(cores(), 8) if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: expected 1 or more.")
    if sandboxed and (why := sandbox.refusal()):
        raise UsageError(
            f"students' code must run in a sandbox, and there is none: {why} --unsandboxed grades "
            "without one: then a submission can do on this machine all that you can."
        )
    known = {exercise.name: exercise for exercise in (exercises() if of is None else of)}
    steps = {name: instructor_steps(exercise.notebook) for name, exercise in known.items()}
    folder = Path(output).expanduser().absolute()
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kdcourse-grade-") as scratch:
        found = collect(submissions, Path(scratch))
        about = json.dumps([__version__, sandboxed, asdict(limits)])
        records, todo = _sorted_out(found, known, steps, about)
        total = len(records) + len(todo)
        kept, waiting = _kept_before(todo, results)
        records += kept
        if kept:
            echo(f"{len(kept)} of {len(todo)} were graded before and are kept.")
        hidden = [Path(submissions).expanduser(), folder, *_kept_from_students(known)]
        in_use = sorted({job.exercise.module for job in waiting})
        judges = _Judges(jobs, limits, sandboxed, hidden, in_use)
        try:
            _check_references(judges, waiting, results, about)
            for number, record in enumerate(judges.run(waiting), 1):
                _write_record(results, record)
                records.append(record)
                echo(_line(record, number, len(waiting)))
                if live:
                    live(f"{len(waiting) - number} to go")
        finally:
            judges.close()
            facts = {"sandboxed": sandboxed, "limits": limits, "jobs": jobs}
            facts["missing"] = total - len(records)
            report.write(folder, records, known, facts)
    return records


# --- what there is to grade -----------------------------------------------------------------------


def _sorted_out(
    found: Iterable[Submission], known: dict[str, Exercise], steps: dict, about: str
) -> tuple[list[Record], list[Job]]:
    """Records of what is refused, jobs for the rest: of several of a student for an exercise, the
    newest.
    """
    records, newest = [], {}
    for submission in found:
        try:
            if submission.refused:
                raise Refused(submission.refused)
            notebook = read(submission.path)
            exercise = recognise(notebook, submission.name.split("/")[-1], steps)
        except Refused as refused:
            records.append(Record(submission.student, "", submission.name, "refused", str(refused)))
            continue
        newest.setdefault((submission.student, exercise), []).append(submission)
    jobs = []
    for (student, exercise), versions in newest.items():
        versions.sort(key=lambda submission: submission.when)
        *older, last = versions
        notes = tuple(
            f"{other.name}: an older version of the same exercise; not graded." for other in older
        )
        key = _key(last.path, known[exercise], about)
        jobs.append(Job(student, last.name, known[exercise], last.path, key, notes))
    return records, jobs


def _key(path: Path, exercise: Exercise, about: str) -> str:
    """Of the notebook, the instructor's notebook, its checks and the settings."""
    digest = hashlib.sha256(about.encode())
    own = Path(importlib.util.find_spec(exercise.module).origin)
    files = [own] if own.name != "__init__.py" else sorted(own.parent.glob("*.py"))
    for module in (safe_call, bug_cases):
        files += sorted(Path(module.__file__).parent.glob("*.py"))
    for file in (path, exercise.notebook, *files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _kept_before(todo: Sequence[Job], results: Path) -> tuple[list[Record], list[Job]]:
    """The results of an earlier grading, and the jobs that have none."""
    kept, waiting = [], []
    for job in todo:
        if record := _kept(results / job.file, job.key):
            kept.append(record)
        else:
            waiting.append(job)
    return kept, waiting


def _kept(path: Path, key: str) -> Record | None:
    """The result of an earlier grading, if it is whole and of the same notebook."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.key == key and record.status == "graded" else None


def _kept_from_students(known: dict[str, Exercise]) -> list[Path]:
    root = checkout()
    folders = [root / "solutions", root / "tests", root / "exercises"] if root else []
    return [*folders, *{exercise.notebook.parent for exercise in known.values()}]


def _write_record(folder: Path, record: Record) -> None:
    report.write_text(
        folder / f"{report.slug(record.student)}.{record.exercise}.json",
        json.dumps(asdict(record), indent=1),
    )


def _check_references(judges: "_Judges", waiting: Sequence[Job], results: Path, about: str) -> None:
    """Grade the instructor's own solutions first: what they do not pass, no student can.

    Raises UsageError if one is not right in every task.
    """
    wanted = {job.exercise.name: job.exercise for job in waiting}
    jobs = [
        Job(REFERENCE, e.notebook.name, e, e.notebook, _key(e.notebook, e, about))
        for e in wanted.values()
    ]
    jobs = [job for job in jobs if not _kept(results / job.file, job.key)]
    for record in judges.run(jobs):
        wrong = [f"{task['task']}: {task['message']}" for task in record.tasks if task["fault"]]
        if record.status != "graded" or wrong:
            raise UsageError(
                f"the reference solution of {record.exercise} is not right on this machine, so "
                "nothing was graded. " + "; ".join(wrong or [record.reason])
            )
        _write_record(results, record)


def _line(record: Record, number: int, of: int) -> str:
    points, most = (
        sum(task["points"] for task in record.tasks),
        sum(task["of"] for task in record.tasks),
    )
    result = (
        f"{points:g} of {most:g} points"
        if record.status == "graded"
        else f"{record.status}: {record.reason}"
    )
    start = f"{number:>4} of {of}  {record.student}  {record.exercise}"
    return f"{start}  {result}  {record.seconds:.0f} s"


# --- processes ------------------------------------------------------------------------------------


class _Judges:
    """Judges submissions in processes, `jobs` at a time."""

    def __init__(
        self,
        jobs: int,
        limits: Limits,
        sandboxed: bool,
        hidden: Sequence[Path],
        modules: Sequence[str],
    ):
        self.limits, self.sandboxed, self.hidden = limits, sandboxed, list(hidden)
        # What a submission may take beside the student's own code, before its process counts as
        # stuck.
        patience = limits.seconds + 5 * limits.start_seconds
        self._pool = Pool(jobs, time_limit=patience, preload=[*PRELOAD, *modules])

    def run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """The Records, as they come."""
        queue, records = list(jobs)[::-1], {}
        while queue or self._pool.busy:
            while queue and self._pool.free:
                job = queue.pop()
                records[job] = self._empty_record(job)
                self._pool.submit(job, _judge, job, self.limits, self.sandboxed, self.hidden)
            for event in self._pool.events(0.5):
                record = records[event.key]
                if isinstance(event, Message):
                    record.tasks.append(event.content)
                    continue
                record.seconds = round(event.seconds, 2)
                if isinstance(event, Result):
                    record.status, record.reason, notes = event.value
                    record.notes += notes
                elif event.late:
                    record.reason = "its judging took too long and was ended"
                else:
                    record.reason = f"its judge's process died (exit code {event.exit_code})"
                yield record

    def _empty_record(self, job: Job) -> Record:
        return Record(
            job.student,
            job.exercise.name,
            job.name,
            "failed",
            key=job.key,
            sandboxed=self.sandboxed,
            notes=list(job.notes),
        )

    def close(self) -> None:
        self._pool.close()


def _judge(
    place: Place, job: Job, limits: Limits, sandboxed: bool, hidden: list[Path]
) -> tuple[str, str, list[str]]:
    """In the process of a submission, where none of the student's code runs. Sends the result of
    each task; returns status, reason and notes of the Record.
    """
    import torch

    from kdcourse.grading.judge import NotStarted, judge

    torch.set_num_threads(1)
    try:
        steps = instructor_steps(job.exercise.notebook)
        tasks = vars(importlib.import_module(job.exercise.module))
        if lacking := [
            step.task for step in steps if step.kind == "task" and step.task not in tasks
        ]:
            raise DataError(
                f"{job.exercise.module} has no tasks {', '.join(lacking)}, which "
                f"{job.exercise.notebook} has"
            )
        plan = assemble(read(job.path), steps)

        def start() -> sandbox.Sandbox:
            return sandbox.Sandbox(limits, hidden=hidden, sandboxed=sandboxed)

        for result in judge(plan, tasks, start, limits):
            place.send(asdict(result))
    except (NotStarted, KDCourseError, Refused) as error:
        return "failed", str(error), []
    return "graded", "", plan.notes
