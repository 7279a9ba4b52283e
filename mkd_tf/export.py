"""Exports a trained detector: `python -m mkd_tf.export --workdir=runs/quickstart --formats=tflite,onnx`.

Each file is run before it is accepted: its AP, latency and difference from the float model
are measured and recorded in `export/manifest.json`. Examples:

    mkd export --workdir=runs/mine
    mkd export --workdir=runs/mine --formats="tflite(quantization='int8'), onnx(opset=17)"
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mkd_tf import flags
from mkd_tf.checks import MkdError
from mkd_tf.conversion import FORMATS
from mkd_tf.conversion.base import Format
from mkd_tf.deployment.options import INTERRUPTED, ExportOptions
from mkd_tf.options import Options, option
from mkd_tf.registry import parse_specs


@dataclasses.dataclass(frozen=True)
class FormatOptions(Options):
    """Which files are made."""

    formats: str = option(
        "tflite",
        f"Calls, comma-separated, of {', '.join(FORMATS)}: a file of each; arguments are below.",
        needs="one or several formats",
    )


def export(options: ExportOptions, formats: Sequence[Format]) -> None:
    """Exports and prints what was measured; fails when a file was rejected."""
    data = flags.stored_config(options.workdir).data
    from mkd_tf import import_public
    from mkd_tf.deployment.context import ExportContext
    from mkd_tf.deployment.export_run import export_files
    from mkd_tf.deployment.measuring import files_table

    import_public()
    with ExportContext.open(options, data) as context:
        entries = export_files(context, formats)
    title = f"{options.workdir}/export, AP on {options.split}"
    context.console.print(files_table(title, entries, context.fit))


def main(listed: FormatOptions, options: ExportOptions) -> None:
    """Exports a file of each format that is listed."""
    try:
        formats = [FORMATS.build(spec) for spec in parse_specs(listed.formats, "formats")]
    except MkdError as error:
        raise MkdError(f"flag --formats: {error}") from None
    export(options, formats)


def front_door(form: type[Format], about: str | None) -> None:
    """Runs the export of one format, whose options are flags of their own, on `sys.argv`."""
    flags.run(export, ExportOptions, flags.Several(form), about=about, interrupted=INTERRUPTED)


def console() -> None:
    """Runs the program on `sys.argv`."""
    forms: dict[str, Any] = dict(FORMATS.entries)
    arguments = [f"{name}: {flags.describe(form, '')}" for name, form in forms.items()]
    flags.run(
        main,
        FormatOptions,
        ExportOptions,
        about=__doc__,
        appendix="Arguments of --formats\n" + "\n".join(arguments),
        interrupted=INTERRUPTED,
    )


if __name__ == "__main__":
    console()
