"""What all commands share: errors as messages, lines that stay or are replaced, stopping tidily."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from kdcourse.common.errors import KDCourseError, with_pointer
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


def lines():
    """Two writers: of a line that stays, and, in a terminal, of one that the next replaces."""
    terminal = sys.stdout.isatty()

    def echo(line: str) -> None:
        click.echo(("\r\x1b[K" if terminal else "") + line)

    def live(line: str) -> None:
        click.echo("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], nl=False)

    return echo, live if terminal else None


@contextmanager
def stoppable(echo: Callable[[str], None], kept: str) -> Iterator[None]:
    """Ctrl-C says what is kept and ends with status 130; a polite kill stops what was started as
    Ctrl-C does.
    """
    with tidy_when_killed():
        try:
            yield
        except KeyboardInterrupt:
            echo(f"Stopped. {kept}")
            sys.exit(130)


@contextmanager
def tidy_when_killed() -> Iterator[None]:
    """A polite kill runs what stands behind `finally`, as Ctrl-C does, and ends with status 143."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
