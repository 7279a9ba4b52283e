"""Specs and tables: a name on the command line becomes an object.

A spec is a name or a call with literal keyword arguments: `shapes`, `voc/2007`,
`coco/2017(unlabelled=True)`, `tiny(size='student', pyramid=24)`. It is parsed, never
evaluated. A table maps names to what builds them; it is written out in one place, and
nothing enters it by being imported.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from mkd_tf.checks import MkdError, check_kind, fail

T = TypeVar("T")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w/.-]*")
# A call of a name that is none in Python: its arguments are parsed behind another name.
_SLASHED_CALL = re.compile(r"([A-Za-z_][\w.-]*/[\w/.-]*)(\(.*\))", re.DOTALL)
_QUOTE_HINT = (
    "Write a name or a call with literal keyword arguments, as in voc_folder(path='images'). "
    "In a flagfile do not quote the whole value, and give a comment a line of its own."
)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A name and the literal arguments it was called with."""

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


def _spec_of(node: ast.expr, text: str, where: str) -> Spec:
    if isinstance(node, ast.Name):
        return Spec(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        try:
            arguments = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg}
        except (TypeError, ValueError, RecursionError, MemoryError):
            arguments = None
        if arguments is not None and len(arguments) == len(node.keywords):
            return Spec(node.func.id, arguments)
    fail(where, expected="a name or name(key=literal, ...)", got=_shown(text), do=_QUOTE_HINT)


def _parse(text: str, where: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    # Python's parser gives up on thousands of brackets or signs in three ways.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        fail(where, expected="a name or name(key=literal, ...)", got=_shown(text), do=_QUOTE_HINT)


def _shown(text: str) -> str:
    return repr(text) if len(text) < 200 else f"{text[:60]!r}... of {len(text):,} characters"


def parse_spec(text: str, where: str = "spec") -> Spec:
    """Parses one spec.

    Raises:
      MkdError: if `text` is neither a name nor a call with literal keyword arguments.
    """
    text = text.strip()
    if _PLAIN_NAME.fullmatch(text):
        return Spec(text)
    slashed = _SLASHED_CALL.fullmatch(text)
    if slashed:
        called = _spec_of(_parse(f"_{slashed[2]}", where), text, where)
        return dataclasses.replace(called, name=slashed[1])
    return _spec_of(_parse(text, where), text, where)


def parse_specs(text: str, where: str = "specs") -> tuple[Spec, ...]:
    """Parses specs separated by commas: `soft_classes(weight=1), soft_boxes`."""
    return tuple(_spec_of(node, text, where) for node in _listed(text, where))


def parse_chains(text: str, where: str = "specs") -> tuple[tuple[Spec, ...], ...]:
    """Parses chains separated by commas, of specs joined by a plus: `qat, prune(sparsity=0.5)+qat`."""
    chains = [_links(node) for node in _listed(text, where)]
    return tuple(tuple(_spec_of(link, text, where) for link in chain) for chain in chains)


def _listed(text: str, where: str) -> list[ast.expr]:
    """Returns the expressions of a comma-separated list."""
    parsed = _parse(f"[{text.strip()}]", where)
    return parsed.elts if isinstance(parsed, ast.List) else [parsed]


def _links(node: ast.expr) -> list[ast.expr]:
    """Returns the terms of a sum, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_links(node.left), *_links(node.right)]
    return [node]


def _signature(builder: Callable[..., Any]) -> inspect.Signature:
    """Returns what a builder takes: with `**kwargs`, also the optional arguments of its bases."""
    signature = inspect.signature(builder)
    for base in getattr(builder, "__mro__", ())[1:]:
        taken = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        if len(taken) == len(signature.parameters):
            break
        names = {p.name for p in taken}
        more = [p for p in inspect.signature(base).parameters.values() if p.name not in names]
        # What has no default in a base is what the class itself passes to it.
        named = [p.replace(kind=p.KEYWORD_ONLY) for p in more if p.default is not p.empty]
        others = [p for p in more if p.kind is p.VAR_KEYWORD]
        signature = signature.replace(parameters=[*taken, *named, *others])
    return signature


class Table(Generic[T]):
    """An explicit mapping from names to builders of one kind of thing."""

    def __init__(self, kind: str, entries: Mapping[str, Callable[..., T]]):
        self.kind = kind
        self.entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name not in self.entries:
            known = ", ".join(self.entries)
            fail(self.kind, expected=f"one of {known}", got=repr(name), do=f"Choose a known {self.kind}.")
        return self.entries[name]

    def complete(self, spec: Spec) -> Spec:
        """Returns `spec` with the defaults of what it leaves out, so that equal specs mean the same.

        Raises:
          MkdError: for an unknown name.
        """
        parameters = _signature(self[spec.name]).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        return dataclasses.replace(spec, arguments={**defaults, **spec.arguments})

    def build(self, spec: Spec | str, **context: Any) -> T:
        """Builds what `spec` names, with its arguments and those of the `context`.

        Raises:
          MkdError: for an unknown name or an argument the builder does not take.
        """
        if isinstance(spec, str):
            spec = parse_spec(spec, self.kind)
        builder = self[spec.name]
        signature = _signature(builder)
        try:
            signature.bind(**context, **spec.arguments)
        except TypeError as error:
            takes = ", ".join(p for p in signature.parameters if p not in context)
            raise MkdError(
                f"{self.kind} {spec}: {error}. {spec.name} takes: {takes}. Correct the arguments."
            ) from None
        for name, value in spec.arguments.items():
            _check_argument(f"{name} of {spec.name}", value, signature.parameters.get(name))
        try:
            return builder(**context, **spec.arguments)
        except (TypeError, AttributeError, OverflowError, MemoryError) as error:
            # Only of what the user wrote: without arguments it is a mistake of the program.
            if not spec.arguments:
                raise
            reason = " ".join(str(error).split())[:150]
            kind = type(error).__name__
            raise MkdError(
                f"{self.kind} {spec}: an argument of the wrong type or size ({kind}: {reason}). Correct it."
            ) from error


def _check_argument(where: str, value: Any, parameter: inspect.Parameter | None) -> None:
    """Fails for a number that is not finite, and for another kind than a plain annotation says."""
    annotation = parameter.annotation if parameter is not None else inspect.Parameter.empty
    kinds = {"bool": bool, "int": int, "float": float, "str": str}
    kind = kinds.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    if kind is not None:
        check_kind(where, value, kind)
    elif isinstance(value, (list, tuple, set)):
        for part in value:
            _check_argument(where, part, None)
    elif isinstance(value, dict):
        for part in [*value, *value.values()]:
            _check_argument(where, part, None)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        check_kind(where, value, float)
