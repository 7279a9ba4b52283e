"""The figures of an inspection as text: rows of tables, and a few lines before a training."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from mkd_tf.data.sources.notices import Notice
from mkd_tf.evaluation.console import say
from mkd_tf.schemas.inspection import InspectionFile, Noticed, SplitFacts

COUNTS = {
    "images": "images",
    "labelled": "labelled",
    "unlabelled": "unlabelled",
    "negatives": "negatives (no object)",
    "objects": "objects",
    "learnable": "learnable",
    "below_stride": "below the finest stride",
    "difficult": "difficult",
    "crowds": "crowds",
    "unknown_images": "unknown images",
    "unknown_areas": "unknown areas",
}
"""The counts of a split, with what they are called."""
FEW_OBJECTS = 20
"""Training objects below which a class is called rare."""
_MOST_CLASSES, _MOST_LINES = 40, 20
_DASH = "–"


def split_rows(record: InspectionFile) -> list[list[str]]:
    """Returns the rows of the table of splits: what is 0 everywhere is left out, but for the main ones."""
    splits: list[dict[str, Any]] = [dict(facts) for facts in record["splits"].values()]
    rows = []
    for key, name in COUNTS.items():
        counts = [facts[key] for facts in splits]
        if any(counts) or key in ("images", "objects", "learnable", "negatives"):
            rows.append([name, *(f"{count:,}" for count in counts)])
    for place, name in (
        (0, "small object, px (5 %)"),
        (2, "median object, px"),
        (4, "large object, px (95 %)"),
    ):
        sizes = [facts["size_px"] for facts in splits]
        rows.append([name, *(_px(size[place] if size else None) for size in sizes)])
    sides = [f"{facts['width_px']:.0f}x{facts['height_px']:.0f}" for facts in splits]
    return [*rows, ["median image, px", *sides]]


def class_rows(record: InspectionFile) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of the table of classes."""
    splits = {s: f for s, f in record["splits"].items() if f["labelled"]}
    columns = ["class"]
    for split in splits:
        columns += [f"{split} images", "objects"]
        columns += ["learnable", "median px"] if split == "train" else []
    rows = []
    for name in record["classes"]:
        cells = [name]
        for split, facts in splits.items():
            own = facts["per_class"][name]
            cells += [f"{own['images']:,}", f"{own['objects']:,}"]
            if split == "train":
                cells += [f"{own['learnable']:,}", _px(own["median_px"])]
        rows.append(cells)
    return columns, rows


def print_inspection(record: InspectionFile, console: Console) -> None:
    """Prints the tables of splits and classes, what was not used, and what looks wrong."""
    title = f"{record['name']}: sizes in pixels of a {record['image_size']} px input"
    _print(console, title, ["", *record["splits"]], split_rows(record))
    columns, rows = class_rows(record)
    more = f" (the first {_MOST_CLASSES} of {len(rows)})" if len(rows) > _MOST_CLASSES else ""
    _print(console, f"Classes{more}", columns, rows[:_MOST_CLASSES])
    if record["notices"]:
        say(console, "Not used or changed:")
        for text in _limited([notice_line(n) for n in record["notices"]]):
            say(console, f"  {text}")
    say(console, "Suspects:" if record["suspects"] else "Suspects: none")
    for suspect in record["suspects"]:
        images = list(dict.fromkeys(place["image"] for place in suspect["places"]))
        first = ", ".join([*images[:3], *(["..."] if len(images) > 3 else [])])
        text = f"  {suspect['kind']}, {suspect['count']:,}: {suspect['message']}"
        say(console, text + (f" ({first})" if first else ""))


def notice_line(notice: Noticed) -> str:
    """Returns what was not used in one line."""
    # A problem's message has its count, and its examples are further messages.
    count = 1 if notice["kind"] == "problem" else notice["count"]
    examples = tuple(notice["examples"])
    return str(Notice(notice["kind"], notice["where"], max(count, 1), notice["message"], examples))


def _limited(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES} more, which are in data.json"


def _print(console: Console, title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def summary_lines(record: InspectionFile) -> list[str]:
    """Returns the inspection in five to ten lines, as before a training."""
    splits, size = record["splits"], record["image_size"]
    lines = ["data: " + "; ".join(f"{split} {_split_words(facts)}" for split, facts in splits.items())]
    train = splits.get("train")
    if train is not None and train["size_px"]:
        low, _, middle, _, high = train["size_px"]
        lost = train["objects"] - train["learnable"]
        lines.append(
            f"objects in training: {train['objects']:,}, {middle:.0f} px at the {size} px input "
            f"(90 % from {low:.0f} to {high:.0f}); {train['below_stride']:,} below the finest stride of "
            f"{record['strides'][0]} px; {lost:,} get no location of their own"
        )
        lines.append(_class_line(train))
    unknown = [
        f"{split} {facts['unknown_images']:,} images and {facts['unknown_areas'] + facts['crowds']:,} areas"
        for split, facts in splits.items()
        if facts["unknown_images"] or facts["unknown_areas"] or facts["crowds"]
    ]
    if unknown:
        lines.append(f"neither object nor background: {', '.join(unknown)}")
    if record["notices"]:
        count = sum(notice["count"] for notice in record["notices"])
        lines.append(f"not used or changed: {count:,} entries, as {notice_line(record['notices'][0])}")
    for suspect in record["suspects"][:3]:
        lines.append(f"suspect: {suspect['kind']}, {suspect['count']:,}: {suspect['message']}")
    if len(record["suspects"]) > 3:
        others = ", ".join(f"{s['kind']} {s['count']:,}" for s in record["suspects"][3:])
        lines.append(f"further suspects: {others}")
    if record["suspects"] or record["notices"]:
        lines.append("mkd inspect_data shows all of them with images, as a page")
    return lines


def _split_words(facts: SplitFacts) -> str:
    words = f"{facts['images']:,} images"
    if facts["labelled"]:
        words += f" with {facts['objects']:,} objects"
    return words + (f" ({facts['negatives']:,} negatives)" if facts["negatives"] else "")


def _class_line(train: SplitFacts) -> str:
    counts = {name: own["objects"] for name, own in train["per_class"].items()}
    order = sorted(counts, key=lambda name: -counts[name])
    if len(order) <= 6:
        return "classes: " + ", ".join(f"{name} {counts[name]:,}" for name in order)
    rare = [name for name in order if counts[name] < FEW_OBJECTS]
    words = (
        f"classes: {len(order)}, from {order[0]} {counts[order[0]]:,} to {order[-1]} {counts[order[-1]]:,}"
    )
    return words + (f"; {len(rare)} with fewer than {FEW_OBJECTS} objects" if rare else "")


def _px(value: float | None) -> str:
    return _DASH if value is None else f"{value:.0f}"
