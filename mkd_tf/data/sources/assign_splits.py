"""Examples become splits: as the source says, or by seed, with near-duplicates on one side."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mkd_tf.data.image_files import HASH_BITS
from mkd_tf.data.sources import voc_splits
from mkd_tf.data.sources.examples import Example
from mkd_tf.data.sources.near_duplicates import group_alike, nearest_copies

_LOGGER = logging.getLogger(__name__)
Dealt = dict[str, list[Example]]
ALL = "all"


def assign_splits(
    given: Mapping[str, Sequence[Example]],
    unlabelled: Sequence[Example],
    shares: Sequence[float],
    seed: int,
    drop_copies: bool,
) -> Dealt:
    """Returns examples by split.

    Args:
      given: labelled examples by split, or all of them under `ALL`, which are split by
        seed. Where `validation` is missing, it is taken out of `train`.
      unlabelled: images without labels; one of which a file is claimed by a labelled
        example is left out.
      shares: of train, validation and test.
      seed: of what is not given.
      drop_copies: whether unlabelled images that resemble one of validation or test
        are left out: a teacher's label on it would show the student the answer.
    """
    splits: Dealt = {split: list(examples) for split, examples in given.items()}
    wanted = dict(zip(("train", "validation", "test"), shares, strict=True))
    if ALL in splits:
        splits = _by_seed(splits[ALL], wanted, seed)
        _LOGGER.info("No lists of splits: split by seed %d into %s", seed, _sizes(splits))
    elif "validation" not in splits:
        del wanted["test"]
        splits |= _by_seed(splits["train"], wanted, seed)
        _LOGGER.info("No list for validation: taken out of train by seed %d: %s", seed, _sizes(splits))
    claimed: set[Path] = {example.path for examples in given.values() for example in examples}
    splits["unlabelled"] = [example for example in unlabelled if example.path not in claimed]
    if drop_copies:
        _drop_copies(splits)
    _warn_of_copies(splits)
    return splits


def _by_seed(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> Dealt:
    by_name = {example.name: example for example in examples}
    names = list(by_name)
    if all(example.scan.hash is None for example in examples):
        groups = [[name] for name in names]
    else:
        groups = [[names[i] for i in group] for group in group_alike(_hashes(examples))]
    assigned = voc_splits.seeded_split(groups, shares, seed)
    return {split: [by_name[name] for name in found] for split, found in assigned.items()}


def _hashes(examples: Sequence[Example]) -> np.ndarray:
    """Hashes of those that were decoded to have one."""
    found = [example.scan.hash for example in examples if example.scan.hash is not None]
    return np.array(found, bool).reshape(len(found), HASH_BITS)


def _judged(splits: Dealt) -> list[Example]:
    return [*splits.get("validation", ()), *splits.get("test", ())]


def _sizes(splits: Dealt) -> str:
    return ", ".join(f"{split} {len(examples)}" for split, examples in splits.items())


def _drop_copies(splits: Dealt) -> None:
    judged, bare = _judged(splits), splits["unlabelled"]
    copies = dict(nearest_copies(_hashes(bare), _hashes(judged)))
    if copies:
        first = next(iter(copies))
        _LOGGER.warning(
            "Left out %d of %d unlabelled images that resemble one of validation or test, as %s does %s. "
            "Keep them with drop_copies=False.",
            len(copies),
            len(bare),
            bare[first].name,
            judged[copies[first]].name,
        )
        splits["unlabelled"] = [example for i, example in enumerate(bare) if i not in copies]


def _warn_of_copies(splits: Dealt) -> None:
    judged, learned = _judged(splits), [*splits["train"], *splits["unlabelled"]]
    copies = nearest_copies(_hashes(judged), _hashes(learned))
    if copies:
        _LOGGER.warning(
            "Near-copies lie on both sides of the split: of validation and test %d resemble a training "
            "image, as %s does %s. Results will look better than they are.",
            len(copies),
            judged[copies[0][0]].name,
            learned[copies[0][1]].name,
        )
