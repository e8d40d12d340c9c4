"""Packages whose names are imported on first use."""

import subprocess
import sys

import pytest

from kdcourse.common.lazy import lazy_exports


def test_a_name_is_imported_when_it_is_first_asked_for():
    code = """
import sys
from kdcourse import plots
assert "matplotlib" not in sys.modules
assert "heat_map" in dir(plots) and "heat_map" in plots.__all__
plots.COLOURS
assert "kdcourse.plots.style" in sys.modules and "kdcourse.plots.response" not in sys.modules
from kdcourse.plots import *
heat_map, land_map
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    from kdcourse import plots

    with pytest.raises(AttributeError, match="kdcourse.plots' has no attribute 'pie'"):
        plots.pie  # noqa: B018


def test_a_module_of_the_same_name_would_hide_what_it_exports():
    with pytest.raises(ValueError, match="fidelity would be hidden"):
        lazy_exports("kdcourse.evaluation", {"fidelity": ("fidelity", "Fidelity")})
