"""The Jupyter kernel that notebooks run in: is it this Python, and which variables does it get?"""

import os
import sys
from pathlib import Path

from kdcourse.common.errors import UsageError
from kdcourse.common.system import cores


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
