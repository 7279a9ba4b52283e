"""Finds the files that annotations and lists name, however they write it.

Names from other systems are found under Unicode NFC (macOS decomposes letters), with either
slash, `%20` for a space, an absolute path of this or another machine, another case or only in a
sub-folder. Nothing outside the folder is ever opened.
"""

import html
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.tree import walk_visible

# Files that tools and systems put beside images and annotations; they are not named.
_HOUSEKEEPING = ("thumbs.db", "desktop.ini")
_FOREIGN = "paths of another folder or machine are found by their ends"
_ADDRESS = re.compile(r"^[a-z][a-z0-9+]*://[^/]*|(?<=.)[?#].*$", re.IGNORECASE)


def nfc(text: str) -> str:
    """Returns a name in Unicode NFC, by which names are compared."""
    return unicodedata.normalize("NFC", text)


def parts_of(name: str) -> tuple[str, ...]:
    """Returns the folders and the file of a path of any system, without drive, `.` and inner `..`.

    Example:
      >>> parts_of("images\\\\cats/./a.jpg"), parts_of("C:\\\\data\\\\a.jpg"), parts_of("x/../a.jpg")
      (('images', 'cats', 'a.jpg'), ('data', 'a.jpg'), ('a.jpg',))
    """
    found: list[str] = []
    for part in PureWindowsPath(nfc(name.strip())).parts:  # knows / and \ and drives
        if part == ".." and found and found[-1] != "..":
            found.pop()
        elif part != "." and not part.endswith(("\\", "/", ":")):
            found.append(part)
    return tuple(found)


def leads_out(name: str) -> bool:
    """Returns whether a path is absolute on any system, or leaves the folder that it begins in."""
    windows = PureWindowsPath(name)
    return bool(windows.anchor) or PurePosixPath(name).is_absolute() or ".." in parts_of(name)


def visible_tree(folder: Path) -> Iterator[Path]:
    """Yields the files of a folder and its sub-folders as `walk_visible`, without those of systems."""
    for name in walk_visible(folder):
        if name.rpartition("/")[2].lower() not in _HOUSEKEEPING:
            yield folder / name


def relative_stem(path: Path, folder: Path) -> str:
    """Returns a file's path below `folder` without its suffix, with `/` and in NFC."""
    return nfc(path.relative_to(folder).with_suffix("").as_posix())


class ImageFolder:
    """The images below a folder, by the names that annotations give them.

    Args:
      folder: it exists.
      notices: hears of names that are read otherwise than they are written.
      where: the folder's name in notices; by default its own.

    Example:
      >>> import tempfile, pathlib
      >>> with tempfile.TemporaryDirectory() as root:
      ...     pathlib.Path(root, "a b.jpg").touch()
      ...     ImageFolder(pathlib.Path(root), Notices()).find("images\\\\..\\\\a%20b.jpg").name
      'a b.jpg'
    """

    def __init__(self, folder: Path, notices: Notices, where: str = ""):
        self.folder = folder
        self.where = where or f"{folder.name}/"
        self._notices = notices
        self._index: dict[str, list[Path]] | None = None
        self._owners: dict[Path, str] = {}  # the first name of each image

    def find(self, name: str) -> Path:
        """Returns the file that `name` means, a path in any form.

        Raises:
          BadExample: if there is none, several fit, or the path leads out of the folder.
        """
        literal = self.folder / name
        if not leads_out(name) and os.path.isfile(literal):  # False too for names no system takes
            self._owners.setdefault(literal, name)
            return literal
        names = parts_of(name)
        ends = dict.fromkeys(names[-1:])
        for parts, how in readings(name, self.folder):
            ends |= dict.fromkeys(parts[-1:])
            found = self._lookup("/".join(parts))
            if len(found) == 1:
                self._notices.add("changed", self.where, how, name)
                return self._owned(found[0], name) if how == _FOREIGN else found[0]
        if leads_out(name):
            raise BadExample(f"its file_name leads out of the folder {self.where}")
        alike = self._lookup("/".join(names).casefold())
        alike = alike or next((found for end in ends if (found := self._lookup(f"*/{end}"))), [])
        if len(alike) > 1:
            shown = ", ".join(sorted(self.relative(path) for path in alike)[:3])
            raise BadExample(f"no image {name} in {self.where}, and several fit: {shown}")
        if not alike:
            raise BadExample(f"no image {name} in {self.where}")
        same_folder = nfc(self.relative(alike[0])).casefold() == "/".join(names).casefold()
        how = "names of another case are used" if same_folder else "names are found in sub-folders"
        self._notices.add("changed", self.where, how, name)
        return alike[0] if same_folder else self._owned(alike[0], name)

    def _owned(self, path: Path, name: str) -> Path:
        """Returns an image that was found by the end of its path, unless another path was found there."""
        owner = self._owners.setdefault(path, name)
        if parts_of(owner) != parts_of(name):
            message = f"no image {name} in {self.where}, and {self.relative(path)} is {owner}"
            raise BadExample(message)
        return path

    def relative(self, path: Path) -> str:
        """Returns a file's path below the folder, with `/`."""
        return path.relative_to(self.folder).as_posix()

    def images(self) -> list[Path]:
        """Returns every image below the folder, by name."""
        return [path for path in visible_tree(self.folder) if path.suffix.lower() in IMAGE_SUFFIXES]

    def _lookup(self, key: str) -> list[Path]:
        if self._index is None:
            index: dict[str, list[Path]] = {}
            for path in visible_tree(self.folder):
                exact = nfc(self.relative(path))
                for each in {exact, exact.casefold(), f"*/{exact.rpartition('/')[2]}"}:
                    index.setdefault(each, []).append(path)
            self._index = index
        return self._index.get(key, [])


def readings(name: str, folder: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields what a name may mean below a folder: path parts, and the words that say so."""
    texts = [(name, "")]
    if "://" in name:
        texts.append((_ADDRESS.sub("", name).lstrip("/"), "addresses are read as their paths"))
    if "%" in name:
        texts.append((unquote(_ADDRESS.sub("", name)), "names with % are read as their characters"))
    if "&" in name:
        texts.append((html.unescape(name), "names with & are read as their characters"))
    for text, changed in texts:
        parts = parts_of(text)
        if changed:
            how = changed
        elif "\\" in text:
            how = "names with \\ are read with /"
        else:
            how = "names of another Unicode form are used"
        if not leads_out(text):
            yield parts, how
        for own in _tails(text, parts, folder):
            yield own, "paths are read as paths within this folder"
        if leads_out(text) and ".." not in parts:
            yield from ((parts[cut:], _FOREIGN) for cut in range(1, len(parts)))


def _tails(text: str, parts: tuple[str, ...], folder: Path) -> Iterator[tuple[str, ...]]:
    """Yields the rest of a path behind the folder itself, or behind a folder of its name."""
    own = parts_of(str(folder.absolute()))
    if leads_out(text) and parts[: len(own)] == own:
        yield parts[len(own) :]
    name = nfc(folder.absolute().name)
    for place in (i for i, part in enumerate(parts[:-1]) if part == name):
        if ".." not in parts[place + 1 :]:
            yield parts[place + 1 :]


def name_unused(files: Iterable[Path], root: Path, notices: Notices) -> None:
    """Adds a notice for each suffix of files that no reader takes.

    Args:
      files: not used, below `root`.
      root: the data set's folder.
      notices: hears of them.
    """
    for path in files:
        where = f"{path.parent.relative_to(root).as_posix()}/".removeprefix("./")
        what = f"files of {path.suffix.lower()}" if path.suffix else "files without suffix"
        notices.add("unused", where or "./", f"{what} are not read", path.name)
