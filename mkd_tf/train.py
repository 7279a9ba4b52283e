"""Trains teacher, guide and student: `python -m mkd_tf.train --flagfile=configs/quickstart.cfg`.

A killed run goes on where it stopped when the same command is given again. On your images:

    mkd train --dataset="voc_folder(path='images')" --workdir=runs/mine --minutes=20
    mkd train --flagfile=configs/quickstart.cfg --workdir=runs/mine --strategies=mkd
"""

import sys
import time

from mkd_tf import flags
from mkd_tf.config import Config


def main(config: Config) -> int:
    """Runs every stage that is not done; returns the exit status."""
    config.data.named()  # Asked for before anything heavy is imported.
    began = time.monotonic()
    from mkd_tf import import_public
    from mkd_tf.training.advice import Advice
    from mkd_tf.training.distribution import check_shareable, scope
    from mkd_tf.training.request import REQUEST, Stopped
    from mkd_tf.training.run import Run
    from mkd_tf.training.workdir import as_flagfile

    import_public()
    check_shareable(config)
    try:
        with scope(config.run) as workers, REQUEST.watched():
            if workers.is_chief:
                print(as_flagfile(config), flush=True)
            advice = Advice(config, flags.given(), began)
            Run(config, flags.command(), advice=advice, workers=workers).train()
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.status
    return 0


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
