"""Packages whose names are imported on first use."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from kdcourse.common.lazy import lazy_exports

PACKAGES = ("data", "models", "evaluation", "training", "distillation", "curriculum", "plots")


def test_importing_the_packages_imports_no_heavy_library():
    code = """
import sys
from kdcourse import curriculum, data, distillation, evaluation, models, plots, training
sys.exit(" ".join({"numpy", "torch", "matplotlib", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.stderr.strip()


def test_every_name_that_a_package_promises_is_there():
    for package in map(import_module, (f"kdcourse.{name}" for name in PACKAGES)):
        assert package.__all__ and set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert not isinstance(getattr(package, name), ModuleType), name


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package that exports two functions: `roof.roof`, named as its module, and `wall.brick`."""
    text = "from kdcourse.common.lazy import lazy_exports\n"
    text += "__getattr__, __dir__, __all__ = lazy_exports("
    text += "__name__, {'roof': ('roof',), 'wall': ('brick',)})\n"
    files = {"__init__": text, "roof": "def roof(): ...\n", "wall": "def brick(): ...\n"}
    (tmp_path / "house").mkdir()
    for name, text in (files | {"door": ""}).items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("house")
    for name in [name for name in sys.modules if name.split(".")[0] == "house"]:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_first_asked_for(house):
    assert house.__all__ == ["brick", "roof"] and {"brick", "roof", "wall"} <= set(dir(house))
    assert house.brick is sys.modules["house.wall"].brick
    assert "house.roof" not in sys.modules and "house.door" not in sys.modules


@pytest.mark.parametrize("first", ["function", "module"])
def test_a_function_is_not_hidden_by_the_module_of_its_name(house, first):
    function = house.roof if first == "function" else None
    module = import_module("house.roof")
    assert isinstance(module, ModuleType)
    assert house.roof is module.roof and function in (None, module.roof)


def test_modules_are_attributes_as_if_the_package_had_imported_them(house):
    assert house.wall is import_module("house.wall")
    from house import door  # one that exports nothing

    assert isinstance(door, ModuleType) and house.door is door


def test_an_unknown_name_is_an_attribute_error(house):
    with pytest.raises(AttributeError, match="'house' has no attribute 'cellar'"):
        house.cellar  # noqa: B018


def test_two_modules_that_export_one_name():
    with pytest.raises(ValueError, match="two modules export the same name"):
        lazy_exports("kdcourse.models", {"resnet": ("thin",), "cifar": ("thin",)})
