"""Writes BUILD from the imports of the tree: `python -m tests.write_build`.

One library per line of the house (pyproject.toml has their order), one binary per
program, one test per test file. tests/test_build_file.py fails when BUILD is not what
this file writes.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_HEADER = """\
# Written by `python -m tests.write_build` from the imports: do not edit.
# Packages from outside are those of the Python that runs the tests; setup.cfg names them.

package(default_visibility = ["//visibility:public"])

# What is read as a file by a test that looks at the tree itself.
filegroup(
    name = "tree",
    srcs = glob(
        [
            "*",
            "configs/**",
            "docs/**",
            "examples/**",
            "export/**",
            "mkd_tf/**",
            "tests/**",
        ],
        exclude = ["**/__pycache__/**"],
    ),
)
"""
_TESTS = """\
# Test file: the libraries it imports. All have :harness too.
TESTS = {{
{tests}
}}

# Tests that look for files beside their own.
READS_TREE = [
{readers}
]

[py_test(
    name = path[:-len(".py")],
    size = "medium",
    srcs = [
        path,
        "tests/bazel_main.py",
    ],
    args = [path],
    data = ["pyproject.toml"] + ([":tree"] if path in READS_TREE else []),
    main = "tests/bazel_main.py",
    deps = [":harness"] + deps,
) for path, deps in TESTS.items()]
"""


@dataclass(frozen=True)
class Rule:
    """A rule of BUILD: its files by name or by pattern, and the labels it depends on."""

    kind: str
    name: str
    patterns: list[str]
    exclude: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f":{self.name}"

    @property
    def files(self) -> set[str]:
        return _matching(self.patterns) - _matching(self.exclude) | set(self.extra)


def _matching(patterns: Iterable[str]) -> set[str]:
    return {str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern)}


@functools.cache
def _nodes(path: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))


def _file_of(module: str) -> str | None:
    """Returns the project's file that holds a module, or None."""
    stem = module.replace(".", "/")
    return next((f for f in (f"{stem}.py", f"{stem}/__init__.py") if (ROOT / f).is_file()), None)


def imported_files(path: str) -> set[str]:
    """Returns the project's files that a file imports, anywhere in it.

    `from package import name` is an import of the module `package.name` where there
    is one. In a test the name of a module as a string counts too: programs are run so.
    """
    names = []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if _file_of(name) else node.module for name in inner]
        elif path.startswith("tests/") and isinstance(node, ast.Constant) and isinstance(node.value, str):
            dotted = "." in node.value and all(part.isidentifier() for part in node.value.split("."))
            names += [node.value] if dotted else []
    return {file for file in map(_file_of, names) if file} - {path}


def test_files() -> list[str]:
    """Returns every test file, sorted."""
    return sorted(_matching(["tests/**/test_*.py"]))


@functools.cache
def rules() -> list[Rule]:
    """Returns every library and binary: programs, doors, rooms and what tests share."""
    found = [Rule("py_library", "doors", ["export/**/*.py"])]
    for path in sorted((ROOT / "mkd_tf").iterdir()):
        if path.is_dir() and any(path.glob("*.py")):
            found.append(Rule("py_library", path.name, [f"mkd_tf/{path.name}/**/*.py"]))
        elif path.suffix == ".py":
            program = "\ndef console(" in path.read_text(encoding="utf-8")
            name = "mkd_tf" if path.name == "__init__.py" else path.stem
            found.append(Rule("py_binary" if program else "py_library", name, [f"mkd_tf/{path.name}"]))
    # A test file whose functions another one uses is shared, too.
    shared = sorted({file for test in test_files() for file in imported_files(test)} & set(test_files()))
    return [*found, Rule("py_library", "harness", ["tests/**/*.py"], ["tests/**/test_*.py"], shared)]


@functools.cache
def _owners() -> dict[str, str]:
    return {file: rule.label for rule in rules() for file in rule.files}


def needed(files: Iterable[str], besides: str = "") -> list[str]:
    """Returns the sorted labels of the rules whose files these files import."""
    return sorted({_owners()[file] for path in files for file in imported_files(path)} - {besides})


def _list(items: Iterable[str], indent: int) -> str:
    return "\n".join(f'{" " * indent}"{item}",' for item in items)


def _attribute(name: str, items: list[str]) -> Iterator[str]:
    if len(items) == 1:
        yield f'    {name} = ["{items[0]}"],'
    elif items:
        yield f"    {name} = [\n{_list(items, 8)}\n    ],"


def _sources(rule: Rule) -> Iterator[str]:
    if rule.exclude:
        extra = f" + [\n{_list(rule.extra, 8)}\n    ]" if rule.extra else ""
        glob = f'        ["{rule.patterns[0]}"],\n        exclude = ["{rule.exclude[0]}"],'
        yield f"    srcs = glob(\n{glob}\n    ){extra},"
    elif "*" in rule.patterns[0]:
        yield f'    srcs = glob(["{rule.patterns[0]}"]),'
    else:
        yield f'    srcs = ["{rule.patterns[0]}"],'


def _written(rule: Rule) -> str:
    deps = needed(rule.files, rule.label)
    if rule.name == "cli":
        # It imports the program that runs by its name.
        deps += [r.label for r in rules() if r.kind == "py_binary" and r.name != "cli"]
    main = [f'    main = "{rule.patterns[0]}",'] if rule.kind == "py_binary" else []
    testonly = ["    testonly = True,"] if rule.name == "harness" else []
    lines = [*testonly, *_sources(rule), *main, *_attribute("deps", sorted(deps))]
    return "\n".join([f"{rule.kind}(", f'    name = "{rule.name}",', *lines, ")\n"])


def build_file() -> str:
    """Returns what BUILD should say."""
    tests, readers = [], []
    for path in test_files():
        deps = needed([path], ":harness")
        listed = f'["{deps[0]}"]' if len(deps) == 1 else f"[\n{_list(deps, 8)}\n    ]" if deps else "[]"
        tests.append(f'    "{path}": {listed},')
        names = {getattr(node, "id", None) or getattr(node, "attr", None) for node in _nodes(path)}
        if names & {"ROOT", "__file__"}:
            readers.append(path)
    end = _TESTS.format(tests="\n".join(tests), readers=_list(readers, 4))
    return "\n".join([_HEADER, *map(_written, rules()), end])


if __name__ == "__main__":
    (ROOT / "BUILD").write_text(build_file(), encoding="utf-8")
