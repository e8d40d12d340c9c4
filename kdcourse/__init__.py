"""kdcourse: a course on knowledge distillation, and the package behind its notebooks."""

from kdcourse.common.errors import KDCourseError

__version__ = "0.1.0"
__all__ = ["KDCourseError", "__version__"]
