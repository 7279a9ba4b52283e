"""Measures which layers int8 hurts: `python -m export.diagnose --workdir=runs/quickstart`.

It prints the worst layers and writes `export/diagnosis.json`, `.csv` and `.png`. Examples:

    mkd diagnose --workdir=runs/mine
    mkd diagnose --workdir=runs/mine --precise_layers=4 --precision=int16
"""

from mkd_tf import flags
from mkd_tf.deployment.options import INTERRUPTED, ExportOptions
from mkd_tf.diagnosis.format import DiagnoseOptions


def main(own: DiagnoseOptions, options: ExportOptions) -> None:
    """Measures, prints and exports; fails when the exported file was rejected."""
    data = flags.stored_config(options.workdir).data
    from mkd_tf import import_public
    from mkd_tf.deployment.context import ExportContext
    from mkd_tf.deployment.measuring import files_table
    from mkd_tf.diagnosis.report import as_table
    from mkd_tf.diagnosis.run import diagnose_file

    import_public()
    with ExportContext.open(options, data) as context:
        diagnosis, entries = diagnose_file(context, own)
    context.console.print(as_table(diagnosis, f"{options.workdir}/export, int8 against float"))
    if entries:
        title = f"{own.precise_layers} layers in {own.precision}"
        context.console.print(files_table(title, entries, context.fit))


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, DiagnoseOptions, ExportOptions, about=__doc__, interrupted=INTERRUPTED)


if __name__ == "__main__":
    console()
