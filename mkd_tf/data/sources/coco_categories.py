"""The categories of COCO files: one class per name, placeholders dropped, files of one set compared."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.values import record_id

_DO = "Correct the categories."


@dataclasses.dataclass(frozen=True, slots=True)
class Category:
    """A category: its class, the name as written, and that of its supercategory."""

    name: str
    written: str
    parent: Any


def read_categories(
    records: Collection[Mapping[str, Any]], used: Collection[object], where: str, file: str, notices: Notices
) -> dict[Any, Category]:
    """Returns the categories by id, in the order of the ids.

    A category that no annotation uses and that is another one's supercategory is a placeholder,
    as Roboflow writes it for the whole project: it is dropped, with a notice. Names that differ by
    white space or Unicode form are one class.

    Args:
      records: the list `categories`.
      used: the ids that annotations have, by `record_id`.
      where: the file in errors.
      file: the file in notices.
      notices: hears of what is dropped or joined.

    Raises:
      MkdError: for a category without id or name, or an id or a name that comes twice.
    """
    found: dict[Any, Category] = {}
    for record in records:
        number = record_id(record.get("id"))
        category = _category(record, file, notices)
        if not isinstance(number, int) or category is None:
            expected, got = "categories with an integer 'id' and a 'name'", f"{record!r:.80}"
            fail(where, expected=expected, got=got, do=_DO)
        if number in found and found[number].name != category.name:
            _twice(where, number, category, found)
        found[number] = category
    for number in sorted(number for number in found if number not in used):
        category = found[number]
        if any(other.parent == category.name for n, other in found.items() if n != number):
            message = (
                "categories that no annotation uses and that are the supercategory of others are dropped"
            )
            notices.add("unused", file, message, category.name)
            del found[number]
    owners: dict[str, int] = {}
    for number, category in sorted(found.items()):
        first = found[owners.setdefault(category.name, number)]
        if owners[category.name] != number:
            if first.written == category.written:
                _twice(where, number, category, {n: c for n, c in found.items() if n != number})
            message = "categories whose names differ by space or Unicode form alone are one class"
            notices.add("merged", file, message, category.name)
    if not found:
        fail(where, expected="categories", got="none", do="List the classes in 'categories'.")
    return dict(sorted(found.items()))


def _category(record: Mapping[str, Any], file: str, notices: Notices) -> Category | None:
    try:
        name = class_name(record.get("name"), file, notices)
    except BadExample:
        return None
    try:
        parent = class_name(record.get("supercategory"), file)
    except BadExample:
        parent = None
    return Category(name, str(record["name"]), parent)


def _twice(where: str, number: int, category: Category, others: Mapping[int, Category]) -> None:
    names = {n: c.name for n, c in others.items()}
    got = f"{category.name!r} ({number}) beside {names}"
    fail(where, expected="each category's id and name once", got=f"{got:.120}", do=_DO)


def joined_classes(
    categories: Mapping[str, Mapping[int, str]], paths: Mapping[str, Path], notices: Notices
) -> tuple[str, ...]:
    """Returns the classes of several files: those of train in the order of their ids, then others.

    A file may lack classes, and may give a class another id: classes go by their names.

    Args:
      categories: names by id, of the file of each split; train is among them.
      paths: of the files.
      notices: hears of ids that differ.

    Raises:
      MkdError: if one id has two names.
    """
    train = categories["train"]
    names = dict.fromkeys(train.values())
    for split, own in categories.items():
        differing = sorted(
            {(n, c[n]) for c in (train, own) for n in own.keys() & train.keys() if own[n] != train[n]}
        )
        if differing:
            number, name = differing[0]
            expected, do = f"the categories of {paths['train']}", "Write both files with the same categories."
            got = f"a difference in {len(differing)}, such as {number}: {name!r}"
            fail(f"annotations {paths[split]}", expected=expected, got=got, do=do)
        for number, name in own.items():
            ids = [n for n, other in train.items() if other == name]
            if ids and number not in ids:
                theirs = paths["train"].name
                message = f"category ids differ from those of {theirs}: classes go by their names"
                notices.add("changed", paths[split].name, message, name)
        names |= dict.fromkeys(own.values())
    return tuple(names)
