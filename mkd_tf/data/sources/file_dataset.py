"""What the data sets of a user's own files share: options, the report of problems, splits.

Examples are assigned to splits as the source says, or by seed, with near-duplicates on
one side.
"""

import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.data.base import SPLITS, Dataset
from mkd_tf.data.image_files import HASH_BITS
from mkd_tf.data.sources.examples import Example, ExampleImages
from mkd_tf.data.sources.learnable import note_learnable, note_unknown
from mkd_tf.data.sources.names import warn_of_alike
from mkd_tf.data.sources.near_duplicates import group_alike, nearest_copies
from mkd_tf.data.sources.notices import Notices, Problem
from mkd_tf.data.sources.voc_splits import check_fractions, seeded_split

_LOGGER = logging.getLogger(__name__)
Splits = dict[str, list[Example]]
ALL = "all"
_SHOWN = 10  # problems listed in an error
_SHOWN_NOTICES = 25
_SHOWN_UNUSED = 3


class FileDataset(Dataset):
    """A data set of a user's own files.

    Every image is read once at construction, so that a damaged one is found before
    training and not in the middle of it. A subclass reads the files, then calls
    `report` and `assign_splits`.

    Args:
      split_seed: seed of the splits that the files do not give.
      fractions: shares of train, validation and test if the files give no splits. If only
        validation is missing, it is taken out of train in this proportion.
      test_from_train: whether test is taken out of train as well if only test is missing.
      drop_copies: leaves out unlabelled images that resemble one of validation or test: a
        teacher's label on one would show the student the answer.
      data_dir: accepted as by every data set; files are read where they are.
      on_bad_example: `fail` raises one error that lists what is wrong; `skip` leaves
        out bad objects, and images that are bad as a whole, with a warning.

    Attributes:
      problems: what is wrong in the files, and was left out.
      notices: what was not used, joined, or read otherwise than written; what is unknown.
      collector: collects the notices until `assign_splits`; subclasses add to it.

    Raises:
      MkdError: for bad examples, files without annotated images, illegal arguments.
    """

    problems: tuple[Problem, ...]

    def __init__(
        self,
        *,
        split_seed: int = 0,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        test_from_train: bool = False,
        drop_copies: bool = True,
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        del data_dir
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        self._shares = check_fractions(fractions)
        self._made = ("validation", "test") if test_from_train else ("validation",)
        self._seed, self._drop_copies, self._on_bad_example = split_seed, drop_copies, on_bad_example
        self.collector = Notices()

    def report(self, where: str, problems: Sequence[Problem], numbering: str) -> None:
        """Keeps the problems, and warns of them or raises one error that lists them.

        `numbering` is a sentence on the numbers in them.
        """
        self.problems = tuple(problems)
        if not problems:
            return
        count, is_one = len(problems), len(problems) == 1
        lines = "\n  ".join(map(str, problems[:_SHOWN]))
        if count > _SHOWN:
            lines += f"\n  and {count - _SHOWN} more; mkd inspect_data shows some of every file"
        if self._on_bad_example == "skip":
            text = f"{where}: left out {count} bad {'example' if is_one else 'examples'}:\n  {lines}"
            _LOGGER.warning("%s", text)
            return
        them = ("it", "this one") if is_one else ("them", "these")
        do = f"{numbering} Correct {them[1]}, or leave {them[0]} out with --on_bad_example=skip."
        got = f"{count} bad {'one' if is_one else 'ones'}"
        raise MkdError(f"{where}: expected sound examples, got {got}:\n  {lines}\n{do}")

    def unused(self) -> str:
        """Returns a sentence with the first files that are not used, for the error that nothing is left."""
        found = [str(notice) for notice in self.collector if notice.kind == "unused"]
        return f" Not used: {'; '.join(found[:_SHOWN_UNUSED])}." if found else ""

    def assign_splits(
        self, where: str, labelled: Mapping[str, list[Example]], unlabelled: Sequence[Example]
    ) -> None:
        """Makes the splits out of examples; `class_names` must be set before.

        Args:
          labelled: examples by split, or all of them under `ALL`, which are split by seed. If
            `validation` is missing, it is taken out of `train`.
          unlabelled: images without labels; those whose file belongs to a labelled example
            are left out.
        """
        splits, seed = dict(labelled), self._seed
        shares = dict(zip(SPLITS, self._shares, strict=False))
        # What nothing is known of teaches nothing as a label, and can be labelled by a teacher.
        place = ALL if ALL in splits else "train"
        blank = [e for e in splits.get(place, ()) if not e.objects and not e.is_complete]
        splits[place] = [e for e in splits.get(place, ()) if e.objects or e.is_complete]
        if blank and not splits[place]:
            got = f"{len(blank)} that lost every object"
            fail(where, expected="labelled images for train", got=got, do="Correct their objects.")
        if ALL in splits:
            splits = _by_seed(splits[ALL], shares, seed)
            _LOGGER.info("No lists of splits: split by seed %d into %s", seed, _sizes(splits))
        elif missing := [s for s in self._made if s not in splits]:
            shares = {split: shares[split] for split in ("train", *missing)}
            splits |= _by_seed(splits["train"], shares, seed)
            names = " and ".join(missing)
            _LOGGER.info("No list for %s: taken out of train by seed %d: %s", names, seed, _sizes(splits))
        if not splits.get("train"):
            fail(where, expected="usable images for train", got="none", do="Add or repair some.")
        claimed = {example.path for examples in labelled.values() for example in examples}
        splits["unlabelled"] = [example for example in unlabelled if example.path not in claimed]
        splits["unlabelled"] += blank
        if self._drop_copies:
            _drop_copies(splits)
        _warn_of_copies(splits)
        labels = {name: label for label, name in enumerate(self.class_names)}
        depth = _common_depth(splits, self.collector)
        self._splits = {
            split: ExampleImages(splits[split], labels, split != "unlabelled", depth)
            for split in SPLITS
            if splits.get(split)
        }
        self.split_names = tuple(self._splits)
        warn_of_alike(self.class_names, "classes", self.collector)
        note_unknown(splits, blank, self.collector)
        note_learnable(splits, self.class_names, self.collector)
        self.notices = tuple(self.collector)
        if self.notices:
            lines = "\n  ".join(f"{notice.kind}: {notice}" for notice in self.notices[:_SHOWN_NOTICES])
            more = len(self.notices) - _SHOWN_NOTICES
            lines += f"\n  and {more} more, which mkd inspect_data lists" if more > 0 else ""
            _LOGGER.warning("%s: read, with notices:\n  %s", where, lines)


def _by_seed(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> Splits:
    by_name = {example.name: example for example in examples}
    names = list(by_name)
    groups = [[name] for name in names]
    if any(example.scan.hash is not None for example in examples):
        groups = [[names[i] for i in group] for group in group_alike(_hashes(examples))]
    assigned = seeded_split(groups, shares, seed)
    return {split: [by_name[name] for name in found] for split, found in assigned.items()}


def _hashes(examples: Sequence[Example]) -> np.ndarray:
    """Returns the hashes of the examples that were decoded, `[N, HASH_BITS]` bool."""
    found = [example.scan.hash for example in examples if example.scan.hash is not None]
    return np.array(found, bool).reshape(len(found), HASH_BITS)


def _evaluated(splits: Splits) -> list[Example]:
    return [*splits.get("validation", ()), *splits.get("test", ())]


def _sizes(splits: Splits) -> str:
    return ", ".join(f"{split} {len(splits[split])}" for split in SPLITS if split in splits)


def _common_depth(splits: Splits, notices: Notices) -> int | None:
    """Returns the bits that the images of 16 bits a pixel use, None if none is known."""
    examples = {e.path: e for found in splits.values() for e in found}.values()
    wide = [e for e in examples if e.scan.is_wide and e.scan.hash is not None]
    if not wide:
        return None
    depth = max(e.scan.depth for e in wide)
    for example in wide:
        name = example.path.name
        if depth < 16:
            message = f"images of 16 bits use {depth}: their values 0 to {2**depth - 1} become 0 to 255"
            notices.add("changed", "images", message, name)
        if example.scan.depth <= depth - 4:
            message = f"images use {example.scan.depth} bits where others use {depth}: they are nearly black"
            notices.add("suspect", "images", message, name)
    return depth


def _drop_copies(splits: Splits) -> None:
    evaluated, unlabelled = _evaluated(splits), splits["unlabelled"]
    copies = dict(nearest_copies(_hashes(unlabelled), _hashes(evaluated)))
    if copies:
        first = next(iter(copies))
        _LOGGER.warning(
            "Left out %d of %d unlabelled images that resemble one of validation or test, as %s does %s. "
            "Keep them with drop_copies=False.",
            len(copies),
            len(unlabelled),
            unlabelled[first].name,
            evaluated[copies[first]].name,
        )
        splits["unlabelled"] = [example for i, example in enumerate(unlabelled) if i not in copies]


def _warn_of_copies(splits: Splits) -> None:
    evaluated, trained = _evaluated(splits), [*splits["train"], *splits["unlabelled"]]
    copies = nearest_copies(_hashes(evaluated), _hashes(trained))
    if copies:
        _LOGGER.warning(
            "Near-copies lie on both sides of the split: of validation and test %d resemble a training "
            "image, as %s does %s. Results will look better than they are.",
            len(copies),
            evaluated[copies[0][0]].name,
            trained[copies[0][1]].name,
        )
