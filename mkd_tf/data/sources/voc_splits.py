"""Splits by seed, near-duplicates on one side."""

import hashlib
import math
from collections.abc import Mapping, Sequence

from mkd_tf.checks import fail

# A group of more images than this, and of more than half of all, is one scene of a fixed camera.
_SCENE_COUNT = 20
_RUN_SHARE = 0.05


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Returns the shares of train, validation and test.

    Raises:
      MkdError: unless they are three numbers from 0 to 1 that add up to 1, the first above 0.
    """
    try:
        train, validation, test = map(float, fractions)
    except (TypeError, ValueError):
        train = validation = test = math.nan
    shares = (train, validation, test)
    if not (train > 0 and min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)):
        expected = "three shares for train, validation and test that add up to 1, as (0.7, 0.15, 0.15)"
        fail("fractions", expected=expected, got=repr(fractions), do="Correct fractions.")
    return shares


def seeded_split(
    groups: Sequence[Sequence[str]], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Assigns images to splits, near-duplicates to the same one.

    The result depends on the names of the images and the seed, not on the order in which a
    file system lists them.

    Every split with a share gets at least one group, if there are enough. The frames of a
    fixed camera are all alike and cannot stay together: a group of over 20 images and over
    half of all, or one that would leave a split empty, is cut into runs of neighbouring
    names.

    Args:
      groups: names of images that belong together.
      shares: split -> share; they are scaled to add up to 1.
      seed: of the assignment.

    Returns:
      The sorted names by split, for every split that got any.
    """
    wanted = [split for split, share in shares.items() if share > 0]
    count = sum(map(len, groups))
    pieces: list[list[str]] = []
    for group in groups:
        ordered = sorted(group)
        too_large = len(ordered) > _SCENE_COUNT or len(groups) < len(wanted)
        is_scene = too_large and len(ordered) > count / 2
        run = math.ceil(count * _RUN_SHARE) if is_scene else len(ordered)
        pieces += [ordered[i : i + run] for i in range(0, len(ordered), run)]
    # The largest first, so that small ones level the shares out.
    pieces.sort(key=lambda piece: (-len(piece), hashlib.sha256(f"{seed}/{piece[0]}".encode()).digest()))
    assigned: dict[str, list[str]] = {split: [] for split in wanted}
    for split in wanted:
        if pieces:
            assigned[split] += pieces.pop(0 if split == wanted[0] else -1)
    targets = {split: count * shares[split] / sum(shares.values()) for split in wanted}
    for piece in pieces:
        neediest = max(wanted, key=lambda split: targets[split] - len(assigned[split]))
        assigned[neediest] += piece
    return {split: sorted(names) for split, names in assigned.items() if names}
