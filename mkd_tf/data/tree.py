"""The files of a folder, and what kind of annotations the first of them are: what recognition looks at."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.registry import Spec

_SKIPPED_FOLDERS = ("__MACOSX",)
_DEEPEST = 8  # folders below the root
_SAMPLE = 30  # files of one suffix that are opened in each folder
_HEAD = 1 << 16  # bytes
_XML_ROOT = re.compile(rb"<\s*([A-Za-z_][\w.-]*)")
_XML_PROLOGUE = re.compile(rb"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(\[[^\]]*\])?[^>]*>", re.DOTALL)
_KINDS = {
    "coco": (b'"images"', b'"annotations"', b'"categories"'),
    "labelme": (b'"shapes"', b'"imagePath"'),
}


@dataclasses.dataclass(frozen=True)
class Found:
    """A data set that was recognised in a folder.

    Attributes:
      format: its name, as users know it.
      spec: the entry of `DATASETS` that reads it, with its arguments.
      source: the file or folder that says so, relative to the folder.
    """

    format: str
    spec: Spec
    source: str


class Tree:
    """The files of a folder and of the folders in it, without hidden ones, listed once.

    Attributes:
      root: the folder.
      files: paths relative to it, with `/`, sorted.
      chosen: the file in it that was given instead of the folder; empty if none.
    """

    def __init__(self, path: Path):
        self.chosen = "" if path.is_dir() else path.name
        self.root = path if path.is_dir() else path.parent
        self.files = tuple(sorted(_listed(self.root)))

    def path(self, name: str) -> str:
        """Returns the path of a file or folder of the tree, as an argument of a data set."""
        return str(self.root / name) if name not in ("", ".") else str(self.root)

    def folders(self) -> set[str]:
        """Returns the folders that hold files, directly or not; `.` is the root."""
        return {parent.as_posix() for name in self.files for parent in PurePosixPath(name).parents}

    def named(self, suffixes: Collection[str], names: Collection[str] = ()) -> list[str]:
        """Returns the files with one of the suffixes or names (in lower case): the chosen one, or all."""
        found = [self.chosen] if self.chosen else self.files
        return [
            name
            for name in found
            if os.path.splitext(name)[1].lower() in suffixes or os.path.basename(name).lower() in names
        ]

    @functools.cached_property
    def xml(self) -> dict[str, list[str]]:
        """Files `*.xml` by their root element: some of every folder, all with `annotations` in it."""
        return self._kinds(".xml", xml_root)

    @functools.cached_property
    def json(self) -> dict[str, list[str]]:
        """Files `*.json` by their kind (`coco`, `labelme`, `label_studio`): some of every folder."""
        return self._kinds(".json", json_kind)

    def _kinds(self, suffix: str, kind_of: Callable[[Path], str]) -> dict[str, list[str]]:
        counts: dict[str, int] = {}
        kinds: dict[str, list[str]] = {}
        for name in self.named((suffix,)):
            folder = os.path.dirname(name)
            counts[folder] = counts.get(folder, 0) + 1
            if counts[folder] <= _SAMPLE and (kind := kind_of(self.root / name)):
                kinds.setdefault(kind, []).append(name)
        return kinds


def existing_path(text: str) -> Path:
    """Returns the path of a folder or file, `~` expanded.

    Raises:
      MkdError: if there is none, or it is an archive.
    """
    path = Path(text).expanduser()
    if not path.exists():
        fail(f"data set {text}", expected="a folder or a file", got="nothing there", do="Correct the path.")
    if path.is_file() and path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        fail(f"data set {text}", expected="a folder", got="an archive", do="Unpack it first.")
    return path


def _listed(root: Path) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        depth = 0 if relative == "." else relative.count("/") + 1
        if real in seen or depth >= _DEEPEST:
            folders[:] = []
        if real in seen:
            continue
        seen.add(real)
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _SKIPPED_FOLDERS]
        prefix = "" if relative == "." else f"{relative}/"
        found += [prefix + name for name in files if not name.startswith(".")]
    return found


def xml_root(path: Path) -> str:
    """Returns the name of a file's root element; empty if it has none."""
    found = _XML_ROOT.search(_XML_PROLOGUE.sub(b"", _head(path)))
    return found[1].decode("ascii") if found else ""


def json_kind(path: Path) -> str:
    """Returns which tool's annotations a file holds; empty for any other."""
    head = _head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"["):
        is_task = b'"annotations"' in head and (b'"data"' in head or b'"result"' in head)
        is_task |= b'"completions"' in head
        is_short = b'"original_width"' in head or (b'"annotator"' in head and b'"annotation_id"' in head)
        return "label_studio" if is_task or is_short else ""
    if not head.startswith(b"{"):
        return ""
    missing = {kind: set(keys) for kind, keys in _KINDS.items()}
    with open(path, "rb") as stream:
        before = b""
        while block := stream.read(1 << 20):
            for kind, keys in missing.items():
                keys -= {key for key in keys if key in before + block}
                if not keys:
                    return kind
            before = block[-16:]
    return ""


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""
