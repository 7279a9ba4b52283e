"""Writes a report: `report.html`, and its tables in Markdown and LaTeX."""

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config
from mkd_tf.data import open_dataset
from mkd_tf.evaluation.progress import bar
from mkd_tf.files import write_bytes
from mkd_tf.reporting.base import NotMeasured, Report, Section, unexpected
from mkd_tf.reporting.measured import Measured, Sets, measure
from mkd_tf.reporting.page import Made, page, title_of
from mkd_tf.reporting.sections import SECTIONS
from mkd_tf.reporting.subject import Subject, read_subject
from mkd_tf.reporting.tables import Table, in_latex
from mkd_tf.version import __version__

NAME = "report"
PACKAGES = ("tensorflow", "keras", "numpy")


def sections_of(report: Report) -> dict[str, Made]:
    """Returns every section of the table, and the reason in place of one that cannot be made."""
    made: dict[str, Made] = {}
    for name, make in SECTIONS.items():
        try:
            made[name] = make(report)
        except NotMeasured as error:
            made[name] = error
        except (MkdError, OSError) as error:
            made[name] = NotMeasured(str(error))
        except Exception as error:  # The other sections do not depend on this one.
            made[name] = unexpected(error)
    return made


def facts_of(command: str) -> dict[str, str]:
    """Returns how a report is made, by name."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "report": command,
        "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "mkd_tf": __version__,
        **versions,
        "python": platform.python_version(),
    }


def _check_chosen(subject: Subject, chosen: Sequence[str]) -> None:
    unknown = [name for name in chosen if name not in subject.stages]
    if unknown:
        known = ", ".join(subject.stages)
        fail("networks", expected=f"names among {known}", got=unknown[0], do="Correct --networks.")


def _runs(
    subject: Subject, config_of: Callable[[str], Config], images: int, console: Console
) -> Callable[[Mapping[str, str]], Measured]:
    def run_networks(stages: Mapping[str, str]) -> Measured:
        # Opened before the bar: tfds patches imports while it loads, and Rich's thread imports as it draws.
        sets = Sets(open_dataset(config_of(str(subject.workdir)).data), images)
        folders = {name: Path(folder) for name, folder in stages.items()}

        def fit_of(folder: Path) -> str:
            return config_of(str(folder.parent)).data.fit

        with Progress(console=console, transient=True) as progress:
            return measure(folders, sets, fit_of, lambda name: bar(progress, name))

    return run_networks


def write_report(
    folder: str | Path,
    config_of: Callable[[str], Config],
    command: str = "",
    *,
    images: int = 0,
    networks: Sequence[str] = (),
    formats: Sequence[str] = (),
    console: Console | None = None,
) -> Path:
    """Writes the report of a work directory or an ablation into it; returns the path of the page.

    Args:
      folder: of `mkd train` or `mkd ablate`.
      config_of: returns the configuration of a work directory.
      command: how the program was called.
      images: how many test and validation images networks are run on at most, 0 for all.
      networks: which networks are drawn; empty for a choice.
      formats: of `FORMATS`: what the tables are written in beside the page.
      console: where progress is shown.

    Raises:
      MkdError: if the folder is neither, or is damaged; or nothing can be written there.
    """
    subject = read_subject(folder)
    _check_chosen(subject, networks)
    console = console or Console(stderr=True)
    runs = _runs(subject, config_of, images, console)
    report = Report(subject, runs, tuple(networks), facts_of(command))
    made = sections_of(report)
    path = subject.folder / f"{NAME}.html"
    # A file's name may hold bytes that are no text.
    write_bytes(path, page(report, made).encode("utf-8", "replace"))
    for name in formats:
        ending, write = FORMATS[name]
        write_bytes(path.with_suffix(ending), write(subject, made).encode("utf-8", "replace"))
    return path


def _tables(made: Mapping[str, Made]) -> dict[str, list[Table]]:
    """Returns the tables of each section by its title, but for those in a file beside the page."""
    found = {title_of(n, m): m.body for n, m in made.items() if isinstance(m, Section)}
    kept = {t: [p for p in body if isinstance(p, Table) and not p.elsewhere] for t, body in found.items()}
    return {title: tables for title, tables in kept.items() if tables}


def _summary(subject: Subject, ending: str) -> str:
    """Returns the tables of the verdicts, which an ablation has written itself."""
    path = subject.folder / f"summary{ending}"
    return f"{path.read_text(encoding='utf-8')}\n" if subject.ablation and path.is_file() else ""


def as_markdown(subject: Subject, made: Mapping[str, Made]) -> str:
    """Returns all tables in Markdown."""
    parts = [f"# {subject.folder.resolve().name}\n", _summary(subject, ".md")]
    for title, tables in _tables(made).items():
        parts += [f"## {title}\n", *(table.markdown() for table in tables)]
    return "\n".join(part for part in parts if part)


def as_latex(subject: Subject, made: Mapping[str, Made]) -> str:
    """Returns all tables in LaTeX, with what its kernel has."""
    parts = [_summary(subject, ".tex")]
    for title, tables in _tables(made).items():
        parts += [f"% {in_latex(title)}\n", *(table.latex() for table in tables)]
    return "\n".join(part for part in parts if part)


FORMATS: dict[str, tuple[str, Callable[[Subject, Mapping[str, Made]], str]]] = {
    "markdown": (".md", as_markdown),
    "latex": (".tex", as_latex),
}
"""Ending and writer of what the tables are written in beside the page."""
