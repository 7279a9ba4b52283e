"""Trains teacher, guide and student: `python -m mkd_tf.train --flagfile=configs/quickstart.cfg`.

A killed run goes on where it stopped when the same command is given again. On your images:

    mkd train --dataset="voc_folder(path='images')" --workdir=runs/mine
    mkd train --flagfile=configs/quickstart.cfg --workdir=runs/mine --strategies=mkd
"""

from mkd_tf import flags
from mkd_tf.config import Config


def main(config: Config) -> None:
    """Runs every stage that is not done."""
    from mkd_tf import import_public
    from mkd_tf.training.distribution import scope
    from mkd_tf.training.run import Run
    from mkd_tf.training.workdir import as_flagfile

    import_public()
    print(as_flagfile(config), flush=True)
    with scope(config.run):
        Run(config, flags.command()).train()


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(
        main,
        Config,
        about=__doc__,
        interrupted="interrupted; the same command goes on from the last finished epoch",
    )


if __name__ == "__main__":
    console()
