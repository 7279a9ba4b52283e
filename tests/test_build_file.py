"""BUILD agrees with the tree: every module in one library, every arrow, every test file."""

import ast
import functools
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Beside the tests themselves, what they share.
SHARED = ":harness"


@functools.cache
def _tree() -> ast.Module:
    return ast.parse((ROOT / "BUILD").read_text())


def _matching(patterns: list[str]) -> set[str]:
    return {str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern)}


def _value(node: ast.expr) -> Any:
    """The value of an attribute: a literal, or the files a glob names."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "glob":
        options = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
        files = _matching(ast.literal_eval(node.args[0])) - _matching(options.get("exclude", []))
        return sorted(files)
    return ast.literal_eval(node)


def _rules(kind: str) -> dict[str, dict[str, Any]]:
    """The rules of one kind by name; those of a comprehension are left out."""
    found = {}
    for statement in _tree().body:
        call = getattr(statement, "value", None)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == kind:
            attributes = {str(k.arg): _value(k.value) for k in call.keywords}
            found[attributes["name"]] = attributes
    return found


def _tests() -> dict[str, list[str]]:
    """Every test file and the libraries it needs: what BUILD assigns to TESTS."""
    for statement in _tree().body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "TESTS":
            return ast.literal_eval(statement.value)
    raise LookupError("BUILD assigns no TESTS")


def _owners() -> dict[str, str]:
    """The label that owns each Python file."""
    owners = {}
    for kind in ("py_library", "py_binary"):
        for name, attributes in _rules(kind).items():
            owners |= dict.fromkeys(attributes["srcs"], f":{name}")
    return owners


def _imported_files(path: str) -> set[str]:
    """The project's own files that a file imports, anywhere in it."""
    files = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            stem = name.replace(".", "/")
            files |= {f for f in (f"{stem}.py", f"{stem}/__init__.py") if (ROOT / f).is_file()}
    # The package above a module is not what the import is for.
    return files - {"tests/__init__.py", *(["mkd_tf/__init__.py"] if path.startswith("mkd_tf/") else [])}


def _needs(paths: list[str]) -> set[str]:
    owners = _owners()
    return {owners.get(f, f"(nothing owns {f})") for path in paths for f in _imported_files(path)}


def test_every_module_is_in_one_library():
    sources = [f for kind in ("py_library", "py_binary") for a in _rules(kind).values() for f in a["srcs"]]
    modules = _matching(["mkd_tf/**/*.py", "export/**/*.py", "tests/**/*.py"])
    assert sorted(sources) == sorted(modules - _matching(["tests/**/test_*.py"]))


def test_every_arrow_is_an_import():
    for kind in ("py_library", "py_binary"):
        for name, attributes in _rules(kind).items():
            expected = sorted(_needs(attributes["srcs"]) - {f":{name}"})
            assert sorted(attributes.get("deps", [])) == expected, f"{kind} {name}"


def test_every_test_file_has_a_test():
    assert sorted(_tests()) == sorted(_matching(["tests/**/test_*.py"]))


def test_every_test_depends_on_what_it_imports():
    for path, deps in _tests().items():
        assert sorted(deps) == sorted(_needs([path]) - {SHARED}), path
