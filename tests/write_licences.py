"""Writes `docs/licences.md`: the licences of what is installed with the package (`make licences`).

With `--sbom=FILE` it writes a bill of materials beside a wheel instead, in CycloneDX 1.6: each
package with its version and licence, as they are installed in this environment.
"""

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "licences.md"
PACKAGE = "mkd_tf"
_HEAD = """# Licences of what is installed with mkd_tf

Written by `make licences` from the metadata of the installed packages; `direct` are those that `setup.cfg`
names, the others come with them. Extras are left out. Each package's own files decide, not this list.

| package | version | licence | direct |
|---|---|---|---|
"""


def needed(package: str = PACKAGE) -> Iterator[tuple[str, Any, bool]]:
    """Yields name, distribution and directness of all that a package needs without extras, by name."""
    direct = {canonicalize_name(name) for name in _requirements(package)}
    found: dict[str, Any] = {}
    waiting = list(direct)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            waiting += [canonicalize_name(n) for n in _requirements(name)]
    for name in sorted(found):
        yield name, found[name], name in direct


def _requirements(package: str) -> list[str]:
    requirements = [Requirement(text) for text in importlib.metadata.requires(package) or ()]
    return [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def licence_of(distribution: Any) -> str:
    """Returns a package's licence as its metadata says it: an expression, a classifier or a short text."""
    metadata = distribution.metadata
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    classifiers = [
        c.rsplit(" :: ", 1)[-1] for c in metadata.get_all("Classifier", ()) if c.startswith("License")
    ]
    classifiers = [c for c in classifiers if c != "OSI Approved"]
    text = re.sub(r"\s+", " ", metadata.get("License") or "").strip()
    return ", ".join(classifiers) or (text if 0 < len(text) < 60 else "see its files")


def table() -> str:
    """Returns the text of `docs/licences.md`."""
    lines = [
        f"| {name} | {found.version} | {licence_of(found)} | {'yes' if is_direct else ''} |"
        for name, found, is_direct in needed()
    ]
    return _HEAD + "\n".join(lines) + "\n"


def bill() -> dict[str, Any]:
    """Returns the bill of materials."""
    components = [
        {
            "type": "library",
            "name": name,
            "version": found.version,
            "purl": f"pkg:pypi/{name}@{found.version}",
            "licenses": [{"license": {"name": licence_of(found)}}],
        }
        for name, found, _ in needed()
    ]
    own = importlib.metadata.version(PACKAGE)
    about = {
        "component": {"type": "library", "name": PACKAGE, "version": own, "purl": f"pkg:pypi/{PACKAGE}@{own}"}
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": about,
        "components": components,
    }


def main(arguments: list[str]) -> None:
    """Writes the list, or the bill of materials."""
    sbom = next((a.removeprefix("--sbom=") for a in arguments if a.startswith("--sbom=")), "")
    if sbom:
        Path(sbom).write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")
    else:
        LIST.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
