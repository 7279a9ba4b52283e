"""Finds the files that annotations and lists name, however they write it.

Names from other systems are found under Unicode NFC (macOS decomposes letters), with either
slash, `%20` for a space, an absolute path of this or another machine, another case or only in a
sub-folder. Nothing outside the folder is ever opened.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.notices import BadExample, Notices

# Files that tools and systems put beside images and annotations; they are not named.
_HOUSEKEEPING = ("thumbs.db", "desktop.ini")


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
    """Yields the files of a folder and its sub-folders by name, without hidden ones.

    Hidden files are leftovers of file managers, as in `._a.xml` and `__MACOSX`.
    """
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in _HOUSEKEEPING:
                yield Path(root, name)


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

    def find(self, name: str) -> Path:
        """Returns the file that `name` means, a path in any form.

        Raises:
          BadExample: if there is none, several fit, or the path leads out of the folder.
        """
        literal = self.folder / name
        if not leads_out(name) and os.path.isfile(literal):  # False too for names no system takes
            return literal
        for names, how in readings(name, self.folder):
            found = self._lookup("/".join(names))
            if len(found) == 1:
                self._notices.add("changed", self.where, how, name)
                return found[0]
        if leads_out(name):
            raise BadExample("its file_name leads out of the folder")
        names = parts_of(name)
        alike = self._lookup("/".join(names).casefold()) or self._lookup(f"*/{names[-1]}" if names else "")
        if len(alike) > 1:
            shown = ", ".join(sorted(self.relative(path) for path in alike)[:3])
            raise BadExample(f"no image {name} in {self.where}, and several fit: {shown}")
        if not alike:
            raise BadExample(f"no image {name} in {self.where}")
        same_folder = nfc(self.relative(alike[0])).casefold() == "/".join(names).casefold()
        how = "names of another case are used" if same_folder else "names are found in sub-folders"
        self._notices.add("changed", self.where, how, name)
        return alike[0]

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
    if "%" in name:
        texts.append((unquote(re.sub(r"^[a-z]+://[^/]*", "", name)), "%"))
    for text, changed in texts:
        parts = parts_of(text)
        if changed:
            how = "names with % are read as their characters"
        elif "\\" in text:
            how = "names with \\ are read with /"
        else:
            how = "names of another Unicode form are used"
        if not leads_out(text):
            yield parts, how
        for own in _tails(text, parts, folder):
            yield own, "paths are read as paths within this folder"


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
