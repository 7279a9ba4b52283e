"""Hashes of the files and settings that decide a teacher's answers."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PIECE = 2**20
VERSION = 1
"""Rises when the same file and settings give other answers."""


def fingerprint(paths: Iterable[str | Path], *settings: Any) -> str:
    """Returns a hash of the content of files, or of every file in folders, and of settings.

    What is missing counts as missing: whoever reads the file says so better.
    """
    found = hashlib.sha256(repr((VERSION, settings)).encode())
    for path in map(Path, paths):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else ""
            found.update(f"\0{name}\0{file.is_file()}\0".encode())
            if file.is_file():
                with open(file, "rb") as stream:
                    while piece := stream.read(_PIECE):
                        found.update(piece)
    return found.hexdigest()[:32]
