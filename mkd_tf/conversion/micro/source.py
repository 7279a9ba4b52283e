"""The C++ source of a model: written, and read back.

A `.cc` file holds the TFLite file of raw heads without its metadata, which would only take
flash: the anchors and labels stand beside it as arrays. What else the file says of itself is JSON
in a comment. The header of the same stem declares it all and has the sizes as constants.
"""

import dataclasses
import json
import re

import numpy as np

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.tflite.metadata_reader import BUFFER_NAME
from mkd_tf.conversion.tflite.model_file import operator_name, to_content, unpack
from mkd_tf.detection.boxes import SCALE_CENTER, SCALE_SIZE
from mkd_tf.options import DEFAULT_SCORE

_MARK = "// mkd_tf micro 1"
_PER_LINE = 16
_DO = "Export it again with mkd_tf."


@dataclasses.dataclass(frozen=True, eq=False)
class MicroModel:
    """What a source holds.

    Attributes:
      model: a TFLite file of raw heads, int8, without metadata.
      anchors: `[N, 4]` float32 (ycenter, xcenter, height, width) as fractions of the input.
      facts: what the file says of itself.
      arena_bytes: that TFLite Micro needs; 0 where it was not measured.
    """

    model: bytes
    anchors: np.ndarray
    facts: FileFacts
    arena_bytes: int

    @property
    def score_threshold(self) -> float:
        """The score from which on detections are shown."""
        point = self.facts.operating_point
        return DEFAULT_SCORE if point is None else point["value"]

    @property
    def operators(self) -> list[str]:
        """The kinds of operators, sorted, as TFLite Micro's resolver names them: `Conv2D`."""
        model = unpack(self.model)
        return sorted({_as_added(operator_name(model, o)) for o in model.subgraphs[0].operators})

    @property
    def image_size(self) -> int:
        """The side of the input in pixels."""
        graph = unpack(self.model).subgraphs[0]
        return int(graph.tensors[graph.inputs[0]].shape[1])


def _as_added(name: str) -> str:
    """Returns what stands behind `Add` in the resolver's method for an operator, as `Conv2D` of `CONV_2D`."""
    words = name.replace("PADV2", "PAD_V2").split("_")
    return "".join(word if word == "2D" else word.capitalize() for word in words)


def without_metadata(content: bytes) -> bytes:
    """Returns a TFLite file without the metadata of clients and the archive at its end."""
    model = unpack(content)
    for entry in model.metadata or []:
        if entry.name.decode() == BUFFER_NAME:
            model.buffers[entry.buffer].data = None
    model.metadata = [e for e in model.metadata or [] if e.name.decode() != BUFFER_NAME]
    return to_content(model, len(content))


def _literal(label: str) -> str:
    """Returns a C++ string of UTF-8 bytes; three octal digits, which no next character can extend."""
    plain = {ord(c): c for c in map(chr, range(32, 127)) if c not in '"\\?'}
    return '"' + "".join(plain.get(b, f"\\{b:03o}") for b in label.encode("utf-8")) + '"'


def to_source(found: MicroModel) -> bytes:
    """Returns the content of the `.cc` file."""
    rows = [found.model[i : i + _PER_LINE] for i in range(0, len(found.model), _PER_LINE)]
    numbers = [", ".join(f"{x:.9g}" for x in row) for row in found.anchors.tolist()]
    lines = [
        _MARK,
        f"// mkd_tf.json {found.facts.to_json()}",
        f"// arena {found.arena_bytes}",
        "// Written by mkd_tf: do not edit. The header of the same name declares it.",
        "namespace mkd {",
        "",
        "// A const is local to its file unless it was declared before.",
        "extern const unsigned char kModel[];",
        "extern const float kAnchors[][4];",
        "extern const char* const kLabels[];",
        "",
        "alignas(16) const unsigned char kModel[] = {",
        *("    " + "".join(f"0x{b:02x}," for b in row) for row in rows),
        "};",
        "",
        "const float kAnchors[][4] = {",
        *(f"    {{{row}}}," for row in numbers),
        "};",
        "",
        f"const char* const kLabels[] = {{{', '.join(map(_literal, found.facts.labels))}}};",
        "",
        "}  // namespace mkd",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def to_header(found: MicroModel) -> str:
    """Returns the header that declares what `to_source` defines."""
    if found.arena_bytes:
        arena = "// Bytes, as measured by tflite-micro on this computer, and a sixteenth for another build."
    else:
        arena = "// Not measured: install tflite-micro and export again, or find it on your board."
    constants = {
        "int kModelSize": len(found.model),
        "int kImageSize": found.image_size,
        "int kAnchorCount": len(found.anchors),
        "int kClassCount": len(found.facts.labels),
        "int kOperatorCount": len(found.operators),
        "int kArenaBytes": found.arena_bytes,
        "bool kLetterbox": str(found.facts.fit == "letterbox").lower(),
        "float kScoreThreshold": f"{found.score_threshold:.4f}f",
        "float kCenterScale": f"{SCALE_CENTER:.1f}f",
        "float kSizeScale": f"{SCALE_SIZE:.1f}f",
    }
    lines = [
        f"// Written by mkd_tf {found.facts.version}: do not edit.",
        "// Input: uint8 RGB [1, kImageSize, kImageSize, 3]. Outputs: 0 box encodings, 1 class logits.",
        "#pragma once",
        "",
        "namespace mkd {",
        "",
        "extern const unsigned char kModel[];",
        "extern const float kAnchors[][4];  // ycenter, xcenter, height, width, fractions of the input",
        "extern const char* const kLabels[];",
        "",
        arena,
        *(f"constexpr {name} = {value};" for name, value in constants.items()),
        "",
        "// Adds the operators of this model to a tflite::MicroMutableOpResolver<kOperatorCount>.",
        "template <typename Resolver>",
        "void AddOperators(Resolver& resolver) {",
        *(f"  resolver.Add{name}();" for name in found.operators),
        "}",
        "",
        "}  // namespace mkd",
        "",
    ]
    return "\n".join(lines)


def from_source(content: bytes, where: str = "model") -> MicroModel:
    """Reads a `.cc` file of `to_source`.

    Raises:
      MkdError: if it is another text, or cut off.
    """
    text = content.decode("utf-8", "replace")
    if not text.startswith(_MARK):
        fail(where, expected="a .cc file of mkd_tf", got=repr(text[:40]), do=_DO)
    try:
        (told,) = re.findall(r"^// mkd_tf\.json (.+)$", text, flags=re.MULTILINE)
        (arena,) = re.findall(r"^// arena (\d+)$", text, flags=re.MULTILINE)
        (array,) = re.findall(r"kModel\[\] = \{\n(.*?)^\};$", text, flags=re.MULTILINE | re.DOTALL)
        (table,) = re.findall(r"kAnchors\[\]\[4\] = \{\n(.*?)^\};$", text, flags=re.MULTILINE | re.DOTALL)
        model = bytes.fromhex("".join(re.findall(r"0x([0-9a-f]{2})", array)))
        rows = json.loads(f"[{table.replace('{', '[').replace('}', ']').rstrip().rstrip(',')}]")
        anchors = np.array(rows, "float32").reshape(-1, 4)
        return MicroModel(model, anchors, FileFacts.from_json(told), int(arena))
    except (ValueError, TypeError) as error:
        raise MkdError(f"{where}: cut off or changed ({type(error).__name__}: {error}). {_DO}") from None
