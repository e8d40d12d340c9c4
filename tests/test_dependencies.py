"""environment.yml, pyproject.toml and constraints.txt say the same; what editors and Binder read
from them holds.
"""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from rattler import MatchSpec, Version

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge's name is another than PyPI's


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def requirements(project, *extras) -> list[Requirement]:
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return [Requirement(line) for line in lines]


def lower_bound(requirement: Requirement) -> str:
    bounds = [
        specifier.version for specifier in requirement.specifier if specifier.operator == ">="
    ]
    assert len(bounds) == 1, f"{requirement}: one lower bound expected"
    return bounds[0]


def test_conda_specs_agree_with_pyproject(project, environment):
    specs = [MatchSpec(line) for line in environment["dependencies"] if isinstance(line, str)]
    conda = {spec.name.normalized: spec for spec in specs}
    wanted = {
        CONDA_NAMES.get(r.name, r.name): lower_bound(r)
        for r in requirements(project, "lab", "agent")
    }
    wanted["python"] = project["requires-python"].removeprefix(">=")
    assert set(conda) == {*wanted, "pip"}
    for name, bound in wanted.items():
        assert Version(str(conda[name].version).removeprefix(">=")) == Version(bound), (
            f"{name}: pyproject says {bound}"
        )
        assert str(conda[name].version).startswith(">="), f"{name}: a lower bound is expected"


def test_the_package_itself_comes_by_pip(environment):
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert pip == [
        "-e ."
    ]  # pip takes no --no-deps in a requirements file, which is what conda makes of this list
    assert environment["channels"] == ["conda-forge"]


def test_constraints_satisfy_every_requirement(project):
    pins: dict[str, list[str]] = {}
    for line in filter(str.strip, (ROOT / "constraints.txt").read_text().splitlines()):
        pin = Requirement(line)
        pins.setdefault(pin.name, []).append(str(pin.specifier).removeprefix("=="))
    for requirement in requirements(project, *project["optional-dependencies"]):
        assert pins.get(requirement.name), (
            f"constraints.txt has no pin for {requirement.name}: compile it afresh"
        )
        assert all(requirement.specifier.contains(pin) for pin in pins[requirement.name]), (
            requirement
        )


def test_pins_name_no_registry_addresses():
    for name in ("constraints.txt", "environment.yml"):
        assert "://" not in (ROOT / name).read_text(), f"{name} names an address"


def test_binder_builds_from_environment_yml():
    """Binder takes environment.yml unless one of these says otherwise; `-e .` makes it copy the
    repository first.
    """
    overriding = (
        "binder",
        ".binder",
        "Dockerfile",
        "requirements.txt",
        "runtime.txt",
        "Pipfile",
        "setup.py",
    )
    assert [name for name in overriding if (ROOT / name).exists()] == []


def test_devcontainer(project):
    container = json.loads(
        (ROOT / ".devcontainer/devcontainer.json").read_text()
    )  # no comments: plain JSON
    python = re.fullmatch(
        r"mcr\.microsoft\.com/devcontainers/python:1-(3\.\d+)-\w+", container["image"]
    )[1]
    assert Version(python) >= Version(project["requires-python"].removeprefix(">="))
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith(
        "/.venv/bin/python"
    )  # where `make setup` puts it
