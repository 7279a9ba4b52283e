"""Trains teacher, guide and student: `python -m mkd_tf.train --flagfile=configs/quickstart.cfg`.

A killed run goes on where it stopped when the same command is given again.
"""

from mkd_tf import flags
from mkd_tf.training.distribution import scope
from mkd_tf.training.run import Run
from mkd_tf.training.workdir import as_flagfile


def main() -> None:
    """Runs every stage that is not done."""
    config = flags.training_config()
    print(as_flagfile(config), flush=True)
    with scope(config.run):
        Run(config, flags.command()).train()


def console() -> None:
    """The console script `mkd-train`."""
    flags.define_training()
    flags.run(main, "interrupted; the same command goes on from the last finished epoch")


if __name__ == "__main__":
    console()
