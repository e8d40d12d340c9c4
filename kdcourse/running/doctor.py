"""Is this machine ready for the course? `kdcourse doctor`, and the picture that notebook 00
shows.
"""

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from packaging.requirements import Requirement

from kdcourse.common import html
from kdcourse.common.errors import DataError
from kdcourse.common.paths import checkout, data_root, work_dir
from kdcourse.common.system import cores

GIB = 2**30

# What a verdict looks like in a notebook: sign, word, colours. Blue, yellow and dark red differ in
# lightness, too.
LOOKS = {
    "ok": ("✓", "ok", "background-color:#0b5394; color:#ffffff"),
    "look": ("!", "look at this", "background-color:#f0c000; color:#000000"),
    "needed": ("✗", "needed", "background-color:#7a0019; color:#ffffff"),
}
DATA = "Data: "


@dataclass(frozen=True)
class Check:
    """One line of the report. `fatal`: the course cannot be used until this is put right.

    group: the name of the row that checks of one group share in a notebook if they are ok.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""
    fatal: bool = False
    group: str = ""

    @property
    def look(self) -> str:
        return "ok" if self.ok else "needed" if self.fatal else "look"


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found; prints as lines of text, shows as a table in a notebook."""

    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        return not any(check.fatal for check in self.checks)

    @property
    def verdict(self) -> str:
        attention = sum(not check.ok for check in self.checks)
        if not self.usable:
            return "Not ready: see the lines that say what must be put right."
        return (
            f"Ready. {attention} thing{'s' * (attention != 1)} to look at."
            if attention
            else "Ready."
        )

    def as_dict(self) -> dict:
        return {"usable": self.usable, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{'ok' if check.ok else '!':<3} {check.name:<{width}}  {check.found}")
            if check.advice:
                lines.append(f"{'':<{width + 6}}{'Needed: ' if check.fatal else ''}{check.advice}")
        return "\n".join([*lines, "", self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """One row per check; checks of one group that are ok share a row."""
        rows = []
        for (group, ok), checks in groupby(self.checks, lambda check: (check.group, check.ok)):
            if group and ok:
                found = ", ".join(
                    f"{check.name.removeprefix(DATA)} {check.found}" for check in checks
                )
                rows.append(Check(group, True, found))
            else:
                rows += checks
        look = "ok" if all(check.ok for check in rows) else "look" if self.usable else "needed"
        return html.render(
            "doctor.html", checks=rows, look=look, verdict=self.verdict, looks=LOOKS
        ).strip()


def doctor() -> Report:
    """Look at Python, packages, processor, memory, GPU, disk, folders and data. Changes nothing."""
    return Report(
        (
            python(),
            *packages(),
            processor(),
            memory(),
            *accelerator(),
            writable("Work folder", work_dir()),
            disk(),
            *data(),
        )
    )


def python() -> Check:
    return Check("Python", True, f"{platform.python_version()} ({short(Path(sys.executable))})")


# --- packages -------------------------------------------------------------------------------------


def tested_versions() -> dict[str, str]:
    """Version by package that the course was tested with: the lines of constraints.txt that hold on
    this machine.
    """
    package = Path(__file__).resolve().parent.parent
    for path in (
        package / "constraints.txt",
        package.parent / "constraints.txt",
    ):  # installed; in a checkout
        if path.is_file():
            lines = [
                Requirement(line)
                for line in path.read_text(encoding="utf-8").splitlines()
                if line.strip()
            ]
            return {
                r.name: str(r.specifier).lstrip("=")
                for r in lines
                if r.marker is None or r.marker.evaluate()
            }
    return {}


def packages() -> list[Check]:
    """The packages that the course needs and those of the extra `lab`, which JupyterLab and
    `kdcourse run` need.
    """
    tested = tested_versions()
    checks = []
    for line in requires("kdcourse") or []:
        requirement = Requirement(line)
        core = requirement.marker is None
        if core or requirement.marker.evaluate({"extra": "lab"}):
            checks.append(package_check(requirement, tested.get(requirement.name), core))
    return checks


def package_check(requirement: Requirement, tested: str | None, core: bool) -> Check:
    name = requirement.name
    wanted = f"'{name}{requirement.specifier}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        purpose = "" if core else " (only for JupyterLab and `kdcourse run`)"
        return Check(
            name, False, "not installed", f"pip install {wanted}{purpose}", core, "Packages"
        )
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(
            name, False, f"{found}, too old", f"pip install --upgrade {wanted}", core, "Packages"
        )
    return Check(
        name,
        True,
        found if tested in (None, found) else f"{found} (tested with {tested})",
        group="Packages",
    )


# --- the machine ----------------------------------------------------------------------------------


def processor() -> Check:
    found = cores()
    if found < 2:
        return Check(
            "Cores",
            False,
            str(found),
            "the course's minutes are meant for two cores; expect twice as long",
        )
    return Check("Cores", True, str(found))


def memory() -> Check:
    try:
        import psutil
    except ImportError:
        return Check("Memory", True, "not known (psutil is not installed)")
    found = psutil.virtual_memory()
    text = f"{found.total / GIB:.1f} GiB, {found.available / GIB:.1f} free"
    if found.available < 2 * GIB:
        return Check("Memory", False, text, "close other programs: notebooks may need 2 GiB")
    return Check("Memory", True, text)


def accelerator() -> list[Check]:
    """The GPU, and whether training in bfloat16 is fast; nothing where PyTorch is missing, which
    `packages` says.
    """
    if find_spec("torch") is None:
        return []
    import torch

    from kdcourse.training.settings import best_device, has_bfloat16

    device = best_device()
    found = "none: the profile cpu is meant for this"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        size = f"{properties.total_memory / GIB:.0f} GiB"
        found = f"{properties.name}, {size} (CUDA {torch.version.cuda})"
    elif device.type == "mps":
        found = "Apple (MPS)"
    precision = (
        "in hardware: training uses it"
        if has_bfloat16(device)
        else "not in hardware: training is in float32"
    )
    return [Check("GPU", True, found), Check("bfloat16", True, f"{device.type}, {precision}")]


# --- folders and data -----------------------------------------------------------------------------


def short(path: Path) -> str:
    """The path as one would say it: from the checkout or from home where it lies there."""
    path = path.absolute()
    for base, sign in ((checkout(), ""), (Path.home(), "~/")):
        if base and path.is_relative_to(base):
            return f"{sign}{path.relative_to(base)}"
    return str(path)


def writable(name: str, folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "make it writable, or set KDCOURSE_WORK to a folder that is"
        return Check(name, False, f"{short(folder)}: {error.strerror}", advice, fatal=True)
    return Check(name, True, f"{short(folder)}, writable")


def disk() -> Check:
    folder = work_dir().absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / GIB:.1f} GiB free"
    if free < 2 * GIB:
        return Check(
            "Disk", False, text, "free some space, or set KDCOURSE_WORK to a folder on another disk"
        )
    return Check("Disk", True, text)


def where(info, root: Path) -> str:
    """Where the files of a data set (a DatasetInfo) are under `root`, in words; empty if they are
    not.

    An archive is named, not unpacked as loading would do.
    """
    if not info.folders or info.name == "scenes":
        return "built in"
    if folder := replace(info, archives=()).find(root):
        return short(folder)
    archives = [name for name in info.archives if (root / name).is_file()]
    return f"{short(root / archives[0])}, unpacked when first used" if archives else ""


def data() -> list[Check]:
    """The data root and, for each data set of the catalogue, whether its files are there."""
    named = os.environ.get("KDCOURSE_DATA")
    try:
        root = data_root()
    except DataError as error:
        return [Check("Data root", False, str(named), str(error), fatal=True)]
    checks = [
        Check(
            "Data root",
            True,
            f"{short(root)} ({'KDCOURSE_DATA' if named else 'KDCOURSE_DATA is not set'})",
        )
    ]
    if find_spec("torch") is None:
        return checks
    from kdcourse.data.datasets import CATALOG

    for name, info in CATALOG.items():
        checks.append(
            Check(f"{DATA}{name}", True, where(info, root) or "not here", group="Data sets")
        )
    return [
        *checks,
        Check("More data", True, "kdcourse data info NAME says how to get what is not here"),
    ]
