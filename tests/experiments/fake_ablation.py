"""An ablation of fake trainings, as a program: `python fake_ablation.py FILE ROOT JOBS SHARD`."""

import functools
import sys
from pathlib import Path

# The package then imports no TensorFlow: what is tested here is killed many times.
sys.argv[0] = "mkd"

import numpy as np  # noqa: E402

from mkd_tf.experiments.grid import Cell  # noqa: E402
from mkd_tf.experiments.matches import Matches  # noqa: E402
from mkd_tf.experiments.run import Ablation, parse_shard  # noqa: E402
from mkd_tf.experiments.spec import read_experiment  # noqa: E402
from mkd_tf.experiments.summary import MATCHES  # noqa: E402

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_training.py")))


def fake_matches(seed: int) -> Matches:
    """Matches of 10 images with an object each, found by chance."""
    rng = np.random.default_rng(seed)
    right = np.repeat(rng.random((10, 1)) < 0.7, 10, axis=1)
    scores = np.sort(rng.random(10))[::-1].astype("float32")
    place = rng.permutation(10).astype("int32")
    return Matches(
        place, np.zeros(10, "int32"), scores, right, np.zeros_like(right), np.ones((10, 1), "int32")
    )


def fake_measure(root: Path, cells: list[Cell]) -> None:
    for cell in cells:
        path = root / cell.job.name / MATCHES
        if not path.exists():
            fake_matches(len(cell.arm) * 100 + cell.seed).save(path)


def main(file: str, root: str, jobs: str, shard: str) -> int:
    """Runs it; returns 1 if a job failed."""
    ablation = Ablation(read_experiment(file), Path(root), parse_shard(shard))
    failed = ablation.train(int(jobs), COMMAND)
    assert "tensorflow" not in sys.modules
    ablation.finish(functools.partial(fake_measure, Path(root)))
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
