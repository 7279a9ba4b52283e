"""Compares arms over seeds and data sets: `python -m mkd_tf.ablate --file=configs/ablation/quickstart.toml`.

A killed run goes on where it stopped when the same command is given again. Several
machines that share a folder each take a part with `--shard`.

    mkd ablate --file=configs/ablation/quickstart.toml --workdir=runs/ablation --dry_run
    mkd ablate --file=configs/ablation/quickstart.toml --workdir=runs/ablation --jobs=2 --shard=0/2
"""

import dataclasses
import signal
from pathlib import Path

from mkd_tf import flags
from mkd_tf.files import write_bytes
from mkd_tf.options import Options, at_least, option


@dataclasses.dataclass(frozen=True)
class AblateOptions(Options):
    """What is compared, where, and by how many processes."""

    file: str = option("", "The TOML file that describes the arms.", needs="a TOML file")
    workdir: str = option("runs/ablation", "Where cells and tables are written.")
    jobs: int = option(1, "Trainings at once, each with one thread.", check=at_least(1))
    shard: str = option("0/1", "i/n: every n-th cell from the i-th on; others share the same --workdir.")
    arms: str = option("", "Only these arms of the file, comma-separated; the tables show all that are done.")
    dry_run: bool = option(False, "Print the grid and the commands, and train nothing.")


def main(options: AblateOptions) -> None:
    """Runs what is not done."""
    from mkd_tf.experiments.run import Ablation, parse_arms, parse_shard, run_ablation
    from mkd_tf.experiments.spec import read_experiment

    # As if interrupted from the keyboard: its children end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    experiment = read_experiment(options.file)
    arms, shard = parse_arms(options.arms, experiment), parse_shard(options.shard)
    ablation = Ablation(experiment, Path(options.workdir), shard, arms=arms)
    if options.dry_run:
        ablation.show()
    else:
        # For `mkd report`, which finds there by which rule arms are judged.
        write_bytes(ablation.root / "experiment.toml", Path(options.file).read_bytes())
        run_ablation(ablation, options.jobs, flags.stored_config)


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, AblateOptions, about=__doc__, interrupted="interrupted; the same command goes on")


if __name__ == "__main__":
    console()
