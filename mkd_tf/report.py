"""Writes a report of a run or an ablation: `python -m mkd_tf.report --workdir=runs/quickstart`.

It is one page, `report.html` in the work directory, that needs no network. Networks are run
on the test split for curves, confusion matrices, calibration and images. Examples:

    mkd report --workdir=runs/quickstart
    mkd report --workdir=runs/ablation --images=200 --formats=markdown,latex
"""

import dataclasses

from mkd_tf import flags
from mkd_tf.checks import check_one_of
from mkd_tf.options import Options, at_least, option

FORMATS = ("markdown", "latex")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_formats(name: str, value: str) -> None:
    for part in _listed(value):
        check_one_of(name, part, FORMATS)


@dataclasses.dataclass(frozen=True)
class ReportOptions(Options):
    """What is reported, and how much is measured for it."""

    workdir: str = option("runs/default", "Work directory of a training run or of an ablation.")
    images: int = option(
        500,
        "Test and validation images that networks are run on, at equal distances in their split; 0 for all.",
        check=at_least(0),
    )
    networks: str = option(
        "",
        "Roles or arms of the curves and images, comma-separated; empty for all roles, and of an ablation "
        "for the teacher, the control and the arms furthest from it.",
    )
    formats: str = option(
        "",
        f"The tables also as report.md and report.tex: {', '.join(FORMATS)}, comma-separated.",
        check=_check_formats,
    )


def main(options: ReportOptions) -> None:
    """Writes the report."""
    from mkd_tf import import_public
    from mkd_tf.evaluation.console import make_console, say
    from mkd_tf.reporting.writing import write_report

    import_public()
    console = make_console()
    path = write_report(
        options.workdir,
        flags.stored_config,
        flags.command(),
        images=options.images,
        networks=_listed(options.networks),
        formats=_listed(options.formats),
        console=console,
    )
    say(console, f"report: {path}")


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, ReportOptions, about=__doc__)


if __name__ == "__main__":
    console()
