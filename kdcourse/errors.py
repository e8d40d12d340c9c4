"""The errors of the course. Each message names the file or argument, what was expected, and what to do."""


class KDCourseError(Exception):
    """Base of every error that the course raises on purpose."""


class UsageError(KDCourseError):
    """An argument, name or parameter that cannot be right (unknown data set, profile, option)."""


class DataError(KDCourseError):
    """Files that are missing, damaged or not what the data set promises."""


class DownloadError(DataError):
    """A file that could not be fetched, or came with the wrong checksum."""


class CheckpointError(KDCourseError):
    """A checkpoint that is damaged, or belongs to another network or run."""


class ExportError(KDCourseError):
    """A network that cannot be exported, or a file that does not answer as its network does."""


class TrainingError(KDCourseError):
    """A training run that cannot go on (loss not finite, nothing to train)."""


class ClusterError(KDCourseError):
    """A cluster that does not answer, has other versions, or no room for a run."""


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
