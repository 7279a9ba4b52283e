"""Checks annotated shapes and types of the method's functions in every call, in the tests alone.

It does what `jaxtyping.install_import_hook` does, except that it leaves constructors as
they are: Keras reads their signature, and they check their arguments themselves.
"""

import dataclasses
import inspect
import random
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

import beartype
from beartype._check.code import codemain
from jaxtyping import jaxtyped

CHECKED = ("mkd_tf.detection", "mkd_tf.distillation", "mkd_tf.strategies")
# beartype checks one random item of a container. It would draw from Python's shared generator, from which
# Keras draws its seeds: initial weights would depend on how many calls were checked before.
codemain.getrandbits = random.Random(0).getrandbits  # noqa: S311 (no secret)
# An int is accepted where a float is expected, as type checkers do.
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def checked(value: Any) -> Any:
    """Returns a function or class whose calls are checked; anything else as it is."""
    if inspect.isfunction(value):
        return jaxtyped(value, typechecker=_check)
    if inspect.isclass(value):
        for name, member in list(vars(value).items()):
            is_method = inspect.isfunction(member) and (name == "__call__" or not name.startswith("__"))
            if is_method or isinstance(member, (classmethod, staticmethod, property)):
                setattr(value, name, jaxtyped(member, typechecker=_check))
        if dataclasses.is_dataclass(value):
            jaxtyped(value, typechecker=_check)
    return value


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for name, value in list(vars(module).items()):
            if getattr(value, "__module__", None) == module.__name__:
                setattr(module, name, checked(value))


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not f"{name}.".startswith(tuple(f"{room}." for room in CHECKED)):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Has every module of `CHECKED` checked that is imported from now on."""
    sys.meta_path.insert(0, _Finder)
