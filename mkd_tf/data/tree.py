"""The files of a folder, and what kind of annotations the first of them are: what recognition looks at."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.data.text_files import decoded, encoding_of
from mkd_tf.registry import Spec

SKIPPED_FOLDERS = ("__MACOSX",)
_DEEPEST = 8  # folders below the root
_SAMPLE = 30  # files of one suffix that are opened in each folder
_HEAD = 1 << 16  # bytes
_XML_ROOT = re.compile(r"<\s*([A-Za-z_][\w.-]*)")
_XML_PROLOGUE = re.compile(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(\[[^\]]*\])?[^>]*>", re.DOTALL)
_KINDS = {
    "coco": ('"images"', '"annotations"', '"categories"'),
    "labelme": ('"shapes"', '"imagePath"'),
}
_LONGEST_KEY = 64  # bytes, in any encoding


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
        self.chosen = "" if os.path.isdir(path) else path.name
        self.root = path if os.path.isdir(path) else path.parent
        self.files = tuple(sorted(walk_visible(self.root, _DEEPEST)))

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
    if not os.path.exists(path):
        fail(f"data set {text}", expected="a folder or a file", got="nothing there", do="Correct the path.")
    if path.is_file() and path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        fail(f"data set {text}", expected="a folder", got="an archive", do="Unpack it first.")
    return path


def walk_visible(root: Path, deepest: int | None = None) -> Iterator[str]:
    """Yields the paths below a folder of its files and of those in its folders, with `/`, by name.

    Hidden files and folders, leftovers of file managers as `._a.xml` and `__MACOSX`, are passed over.
    Links are followed, each folder once, but those to a folder that holds `root`.

    Args:
      root: the folder.
      deepest: how many folders below the root are looked into; None for all.
    """
    seen = {str(parent) for parent in Path(os.path.realpath(root)).parents}
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        depth = 0 if relative == "." else relative.count("/") + 1
        if real in seen or depth == deepest:
            folders[:] = []
        if real in seen:
            continue
        seen.add(real)
        shown = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED_FOLDERS)
        # A folder goes by its own name before that of a link to it.
        folders[:] = sorted(shown, key=lambda name: os.path.islink(os.path.join(folder, name)))
        prefix = "" if relative == "." else f"{relative}/"
        yield from (prefix + name for name in sorted(files) if not name.startswith("."))


def xml_root(path: Path) -> str:
    """Returns the name of a file's root element; empty if it has none."""
    found = _XML_ROOT.search(_XML_PROLOGUE.sub("", decoded(head(path), "replace")))
    return found[1] if found else ""


def json_kind(path: Path) -> str:
    """Returns which tool's annotations a file holds; empty for any other."""
    start = decoded(head(path), "replace").lstrip()
    if start.startswith("["):
        is_task = '"annotations"' in start and ('"data"' in start or '"result"' in start)
        is_task |= '"completions"' in start
        is_short = '"original_width"' in start or ('"annotator"' in start and '"annotation_id"' in start)
        return "label_studio" if is_task or is_short else ""
    if not start.startswith("{"):
        return ""
    missing = _missing_keys(path)
    return next((kind for kind, keys in missing.items() if not keys), "")


def lacking_keys(path: Path) -> list[str]:
    """Returns the key that a COCO file lacks; none if the file is not like one."""
    missing = _missing_keys(path)["coco"]
    return [key.strip('"') for key in missing] if len(missing) == 1 else []


def _missing_keys(path: Path) -> dict[str, set[str]]:
    """Returns the keys of each kind that do not occur in a file; it is read until one kind has all."""
    encoding, _ = encoding_of(head(path))
    missing = {kind: {key.encode(encoding) for key in keys} for kind, keys in _KINDS.items()}
    with open(path, "rb") as stream:
        before = b""
        while block := stream.read(1 << 20):
            for keys in missing.values():
                keys -= {key for key in keys if key in before + block}
            if not all(missing.values()):
                break
            before = block[-_LONGEST_KEY:]
    return {kind: {key.decode(encoding) for key in keys} for kind, keys in missing.items()}


def head(path: Path) -> bytes:
    """Returns the first bytes of a file; none if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""
