"""Copies the files that run a model on a device: `python -m mkd_tf.kit coral FOLDER`.

Kits need nothing of this package. In a checkout they are the folders of `export/`, in
an installed package those of `mkd_tf/kits/`.
"""

import argparse
import shutil
import sys
from pathlib import Path

from mkd_tf.checks import MkdError, fail

KITS = ("android", "coral", "micro")
_PACKAGE = Path(__file__).parent
_EXAMPLES = "examples:\n  mkd kit                  lists the kits\n  mkd kit coral coral_kit  copies one\n"


def kit_folder(name: str) -> Path:
    """Returns the folder that holds the files of the kit `name`.

    Raises:
      MkdError: if there is no such kit.
    """
    if name not in KITS:
        fail("kit", expected=" or ".join(KITS), got=repr(name), do="See mkd kit.")
    for folder in (_PACKAGE / "kits" / name, _PACKAGE.parent / "export" / name):
        if folder.is_dir():
            return folder
    fail(f"kit {name}", expected="its files in the package", got="none", do="Install mkd_tf again.")


def title(name: str) -> str:
    """Returns the heading of a kit's README."""
    with open(kit_folder(name) / "README.md", encoding="utf-8") as stream:
        return stream.readline().lstrip("# ").strip()


def copy_kit(name: str, target: Path, force: bool = False) -> list[Path]:
    """Copies the files of a kit.

    Args:
      name: one of `KITS`.
      target: the folder to write; made if it is missing.
      force: replace files of the same names; other files in `target` stay.

    Returns:
      The files written.

    Raises:
      MkdError: for an unknown kit, a target that is a file, or one that is not empty without `force`.
    """
    source = kit_folder(name)
    if target.exists() and not target.is_dir():
        fail(f"folder {target}", expected="a folder", got="a file", do="Name another folder.")
    if not force and target.is_dir() and any(target.iterdir()):
        do = "Name another one, or give --force to replace files of the same names."
        fail(f"folder {target}", expected="an empty or a new folder", got="files in it", do=do)
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return [target / path.name for path in sorted(source.iterdir()) if path.is_file()]


def main(arguments: argparse.Namespace) -> None:
    """Copies a kit, or lists them when none is named."""
    if not arguments.kit:
        for name in KITS:
            print(f"{name:<10} {title(name)}")
        print("Copy one: mkd kit NAME FOLDER")
        return
    if not arguments.folder:
        kit_folder(arguments.kit)
        fail("mkd kit", expected="a folder to copy to", got="none", do="Give mkd kit NAME FOLDER.")
    for path in copy_kit(arguments.kit, Path(arguments.folder), arguments.force):
        print(path)


def console() -> None:
    """The program `mkd kit`; its arguments are names, so it has no flags of absl."""
    parser = argparse.ArgumentParser(
        prog="mkd kit",
        description=(__doc__ or "").partition(": `")[0] + ".",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kit", nargs="?", help=f"{' or '.join(KITS)}; without it they are listed")
    parser.add_argument("folder", nargs="?", help="where the files are copied to")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    try:
        main(parser.parse_args())
    except (MkdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    console()
