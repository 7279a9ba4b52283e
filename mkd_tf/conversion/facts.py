"""What an exported file says of itself: version, source, fit, thresholds, labels.

The facts are JSON inside the file, so that a file without its manifest is not anonymous:
`mkd_tf.json` in the archive at the end of a TFLite file, where clients that do not know it
pass over it, and the property `mkd_tf.facts` of an ONNX file. There is no date in it: the same
network gives the same bytes.
"""

import dataclasses
import json
from typing import Any

from mkd_tf.checks import MkdError
from mkd_tf.schemas.training import OperatingPoint

FACTS_FILE = "mkd_tf.json"
FACTS_KEY = "mkd_tf.facts"
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """The facts of one file.

    Attributes:
      version: of mkd_tf.
      source_sha256: of the `.keras` file that it was made from, in hexadecimal digits.
      fit: how the network was trained to see images, `stretch` or `letterbox`.
      labels: one per class.
      score_threshold: below which the file returns nothing; None where suppression is not in it.
      max_detections: that the file returns at most; None where suppression is not in it.
      operating_point: from which score on detections are shown; None where it was not measured.
      image_size: side of the square input in pixels.
    """

    version: str
    source_sha256: str
    fit: str
    labels: tuple[str, ...]
    score_threshold: float | None = None
    max_detections: int | None = None
    operating_point: OperatingPoint | None = None
    image_size: int = 0

    def to_json(self) -> str:
        """Returns the facts as JSON of sorted keys."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "FileFacts":
        """Reads facts; keys of later versions are passed over.

        Raises:
          MkdError: if they are damaged.
        """
        try:
            stored = json.loads(text)
            names = [field.name for field in dataclasses.fields(cls)]
            known: dict[str, Any] = {name: stored[name] for name in names}
            return cls(**known | {"labels": tuple(known["labels"])})
        except (ValueError, KeyError, TypeError) as error:
            raise MkdError(
                f"{FACTS_FILE} inside: damaged ({type(error).__name__}: {error}). Export it again."
            ) from None

    def lines(self) -> list[str]:
        """Returns the facts for people, a line each."""
        point = self.operating_point
        shown = "not measured" if point is None else f"{point['value']:g} ({point['chosen']})"
        lines = [
            f"mkd_tf {self.version}, source {self.source_sha256[:12] or 'not named'}, fit {self.fit}",
            f"operating point {shown}",
            f"labels {', '.join(self.labels)}",
        ]
        if self.score_threshold is not None:
            inside = f"scores from {self.score_threshold:g}, at most {self.max_detections} detections"
            lines.insert(2, f"suppression inside: {inside}")
        return lines
