"""Names that a package exports without importing their modules before somebody asks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names are imported on first use.

    package: its `__name__`. homes: module → the names that it defines, such as
      {"response": ("ResponseKD", "soft_target_loss")}.

    A module must not share its name with something it exports: importing the module would hide the
    name. Such a package imports that module eagerly. Raises ValueError otherwise.
    """
    home = {name: module for module, names in homes.items() for name in names}
    if hidden := sorted(home.keys() & homes.keys()):
        raise ValueError(f"{package}: {', '.join(hidden)} would be hidden by modules of that name")

    def __getattr__(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next time it is found at once
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return __getattr__, __dir__, sorted(home)
