"""Names that a package exports without importing their modules before somebody asks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType


class _Package(ModuleType):
    """A package that may export a name from a module of that name, such as `training.fit.fit`.

    Python binds each submodule to its package when the submodule is imported. Here the name then
    stands for what the module defines; the module itself is in `sys.modules`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and name in self.__all__ and hasattr(value, name):
            value = getattr(value, name)
        super().__setattr__(name, value)


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names are imported on first use.

    package: its `__name__`. homes: module → the names that it defines, such as
      {"response": ("ResponseKD", "soft_target_loss")}. These modules, too, are attributes of the
      package, as they would be if it had imported them, except where a module shares its name with
      an exported function: the function comes first, and importing the module doesn't hide it.

    Raises ValueError if two modules export the same name.
    """
    home = {name: module for module, names in homes.items() for name in names}
    if len(home) < sum(map(len, homes.values())):
        raise ValueError(f"{package}: two modules export the same name")
    sys.modules[package].__class__ = _Package

    def __getattr__(name: str) -> object:
        if name in home:
            value = getattr(import_module(f"{package}.{home[name]}"), name)
            setattr(sys.modules[package], name, value)  # the next time it is found at once
            return value
        if name in homes:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home, *homes})

    return __getattr__, __dir__, sorted(home)
