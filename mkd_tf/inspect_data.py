"""Shows what a data set holds and what looks wrong in it: `python -m mkd_tf.inspect_data --dataset=PATH`.

It prints tables and writes `data.json` and `data.html`, a page with images that needs no network.
With --workdir it inspects the data of a finished run and lists the labels that its teacher and
its student doubt, in `review.json` and, for annotation tools, `review_coco.json`. Examples:

    mkd inspect_data --dataset=images --image_size=192 --output=runs/data
    mkd inspect_data --dataset="voc_folder(path='images')" --strict
    mkd inspect_data --workdir=runs/mine --review_images=500
"""

import dataclasses
from pathlib import Path

from mkd_tf import flags
from mkd_tf.checks import MkdError, fail
from mkd_tf.config import DataConfig
from mkd_tf.options import FITS, Options, at_least, option


def _check_side(name: str, value: int) -> None:
    if value < 32 or value % 32:
        fail(name, expected="a positive multiple of 32 px", got=str(value), do="Use for example 192.")


@dataclasses.dataclass(frozen=True)
class InspectOptions(Options):
    """Which data set is inspected, for which network, and where the report goes."""

    dataset: str = option("", "Data set: a path, a name or a call; empty for that of --workdir.")
    workdir: str = option("", "Work directory of a finished run, whose networks review the labels.")
    image_size: int = option(
        192, "Side of the network's input in pixels, without --workdir.", check=_check_side
    )
    fit: str = option("stretch", "How an image is brought to it, without --workdir.", choices=FITS)
    data_dir: str = option("", "Where prepared data sets are kept; empty for the default of tfds.")
    on_bad_example: str = option(
        "skip", "What to do with a bad image or annotation: list it and go on, or stop.", choices=("fail",)
    )
    output: str = option("", "Folder for the report; empty for WORKDIR/data or runs/data.")
    copies: bool = option(True, "Look for images that resemble each other.")
    strict: bool = option(False, "Exit with 1 if something looks wrong or was left out as an error.")
    review_images: int = option(
        2000, "With --workdir, images of each split that the networks look at; 0 for none.", check=at_least(0)
    )


def main(options: InspectOptions) -> None:
    """Prints the tables and writes the report.

    Raises:
      MkdError: with `strict`, after all is written, if something looks wrong.
    """
    data, image_size = _data(options)
    data.named()
    from mkd_tf import import_public, schemas
    from mkd_tf.data import open_dataset
    from mkd_tf.evaluation.console import make_console, say
    from mkd_tf.inspection.rows import print_inspection
    from mkd_tf.reporting.data_writing import write_inspection
    from mkd_tf.schemas.inspection import InspectionFile, ReviewFile

    import_public()
    console = make_console()
    folder = Path(options.output or (f"{options.workdir}/data" if options.workdir else "runs/data"))
    page = write_inspection(
        folder,
        open_dataset(data),
        data,
        image_size,
        command=flags.command(),
        workdir=options.workdir,
        copies=options.copies,
        review_images=options.review_images,
        console=console,
    )
    record = schemas.read(folder / "data.json", InspectionFile)
    print_inspection(record, console)
    if options.workdir and options.review_images:
        counts = schemas.read(folder / "review.json", ReviewFile)["counts"]
        words = ", ".join(f"{kind} {count:,}" for kind, count in counts.items()) or "none"
        text = f"labels that the networks doubt: {words}; for annotation tools: {folder}/review_coco.json"
        say(console, text)
    say(console, f"report: {page}")
    wrong = [s["kind"] for s in record["suspects"]]
    wrong += sorted({n["kind"] for n in record["notices"]} & {"problem", "suspect"})
    if options.strict and wrong:
        raise MkdError(
            f"data set {data.dataset}: expected nothing that looks wrong, got {', '.join(wrong)}. "
            f"Look at {page}; correct the labels, or leave out --strict."
        )


def _data(options: InspectOptions) -> tuple[DataConfig, int]:
    """Returns the options of the data set, and the side of the input."""
    if not options.workdir:
        data = DataConfig(
            dataset=options.dataset,
            on_bad_example=options.on_bad_example,
            fit=options.fit,
            data_dir=options.data_dir,
        )
        return data, options.image_size
    config = flags.stored_config(options.workdir)
    data = dataclasses.replace(config.data, on_bad_example=options.on_bad_example)
    if options.dataset and options.dataset != data.dataset:
        fail(
            "flag --dataset",
            expected=f"the data set of {options.workdir}, {data.dataset}",
            got=options.dataset,
            do="Leave out --dataset, or --workdir.",
        )
    if options.data_dir:
        data = dataclasses.replace(data, data_dir=options.data_dir)
    return data, config.roles.image_size


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, InspectOptions, about=__doc__)


if __name__ == "__main__":
    console()
