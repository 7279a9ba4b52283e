"""An export of a detector's file into a folder, without a training run there."""

from pathlib import Path
from typing import Any

from rich.console import Console

from mkd_tf.conversion.base import Format
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.context import ExportContext
from mkd_tf.deployment.export_run import export_files
from mkd_tf.deployment.options import ExportOptions
from tests.conversion import made


def export(
    source: Path, workdir: Path, *formats: Format, dataset: Dataset | None = None, **options: Any
) -> dict[str, dict[str, Any]]:
    """Returns what was measured, by file name; the data set is that of `made` unless one is given."""
    with open("/dev/null", "w") as nowhere:
        console = Console(file=nowhere)
        run_wide = ExportOptions(workdir=str(workdir), **options)
        dataset = dataset or made.OwnDetections()
        return export_files(ExportContext(run_wide, source, dataset, console=console), formats)
