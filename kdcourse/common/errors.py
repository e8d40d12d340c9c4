"""The errors of the course. Each message names the file or argument, what was expected, and what to
do.
"""


class KDCourseError(Exception):
    """Base of every error that the course raises on purpose.

    section: of docs/errors.md, where its messages are listed with what helps; "" where they say
      all.
    """

    section = ""


class UsageError(KDCourseError):
    """An argument, name or parameter that cannot be right (unknown data set, profile, option)."""


class DataError(KDCourseError):
    """Files that are missing, damaged or not what the data set promises."""

    section = "data"


class DownloadError(DataError):
    """A file that could not be fetched, or came with the wrong checksum."""

    section = "downloads"


class CheckpointError(KDCourseError):
    """A checkpoint that is damaged, or belongs to another network or run."""

    section = "checkpoints"


class ExportError(KDCourseError):
    """A network that cannot be exported, or a file that does not answer as its network does."""

    section = "export"


class TrainingError(KDCourseError):
    """A training run that cannot go on (loss not finite, nothing to train)."""

    section = "training"


class ClusterError(KDCourseError):
    """A cluster that does not answer, has other versions, or no room for a run."""

    section = "clusters"


def with_pointer(error: KDCourseError, page: str) -> str:
    """The error's message, and the section of `page` (docs/errors.md) that says more, if there is
    one.
    """
    message = str(error)
    if not error.section:
        return message
    between = "\n" if "\n" in message else " " if message.endswith(".") else ". "
    return f"{message}{between}See {page}#{error.section}"


def brief(error: BaseException) -> str:
    """The first line of what an error says, or its kind if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class DataWarning(UserWarning):
    """Something about the data that the user should know, such as files that were left out."""


def unknown(kind: str, name: object, known) -> UsageError:
    """The error for a name that is not in a list, with the nearest names first."""
    import difflib

    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"unknown {kind} {str(name)!r}. {hint}Known: {', '.join(known)}.")
