"""Notices on what a data set teaches: objects per class, and what is unknown."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mkd_tf.data.sources.examples import Example
from mkd_tf.data.sources.notices import Notices


def note_unknown(splits: Mapping[str, Sequence[Example]], blank: Sequence[Example], notices: Notices) -> None:
    """Adds notices of areas and images that are neither object nor background.

    Args:
      splits: the examples by split; the objects of `unlabelled` are not used.
      blank: those of train that are wholly unknown and became unlabelled.
      notices: hears of them.
    """
    for example in blank:
        message = "images that lost every object are unlabelled, not background"
        notices.add("unknown", "train", message, example.name)
    for split, examples in splits.items():
        for example in examples if split != "unlabelled" else ():
            if not example.is_complete:
                message = "images that lost an object are unknown outside of their objects, not background"
                notices.add("unknown", split, message, example.name)
            elif example.unknown:
                message = "areas of objects that cannot be used are unknown, not background"
                notices.add("unknown", split, message, example.name, count=len(example.unknown))


def note_learnable(
    splits: Mapping[str, Sequence[Example]], class_names: Sequence[str], notices: Notices
) -> None:
    """Adds notices of splits and classes without an object that can be learnt or that counts.

    A crowd cannot be learnt; in validation and test, crowds and difficult objects do not count.
    """
    learnable: dict[str, Counter[str]] = {}
    for split, examples in splits.items():
        if split == "unlabelled" or not examples:
            continue
        objects = [item for example in examples for item in example.objects]
        crowds = sum(item.is_crowd for item in objects)
        difficult = sum(item.is_difficult and not item.is_crowd for item in objects)
        counted = [i for i in objects if not i.is_crowd and (split == "train" or not i.is_difficult)]
        learnable[split] = Counter(item.name for item in counted)
        if counted or not objects:
            continue
        if split == "train":
            message = (
                f"no object can be learnt: all {crowds} are crowds (iscrowd), as some tools write for masks"
            )
        else:
            message = f"no object counts: all are crowds ({crowds}) or difficult objects ({difficult})"
        notices.add("suspect", split, message)
    for name in class_names:
        if learnable.get("train") and not learnable["train"][name]:
            notices.add("suspect", "train", "classes have no object that can be learnt", name)
