"""The last changes to a measured TFLite file: thresholds of its suppression, and facts inside.

A file is measured with a low threshold and many detections, since AP counts both. The
file that ships returns what clients show: a higher threshold saves the time of suppression.
"""

from flatbuffers import flexbuffers

from mkd_tf.conversion.facts import FACTS_FILE, FileFacts
from mkd_tf.conversion.tflite.metadata_reader import packed_files
from mkd_tf.conversion.tflite.metadata_writer import append_files
from mkd_tf.conversion.tflite.model_file import to_content, unpack

_SPARE = 65536


def finish(content: bytes, facts: FileFacts) -> bytes:
    """Returns a file with `facts` inside; where suppression is in it, with their thresholds.

    Args:
      content: a file of `to_tflite`.
      facts: `score_threshold` and `max_detections` are None for a file of raw heads.
    """
    files = {name: data.decode("utf-8") for name, data in packed_files(content).items()}
    model = unpack(content)
    if facts.score_threshold is not None:
        operator = model.subgraphs[0].operators[-1]
        options = flexbuffers.Loads(bytes(operator.customOptions))
        options |= {"nms_score_threshold": facts.score_threshold, "max_detections": facts.max_detections}
        operator.customOptions = list(flexbuffers.Dumps(options))
        for index in operator.outputs[:3]:
            # Boxes, classes and scores; the fourth is the count.
            tensor = model.subgraphs[0].tensors[index]
            tensor.shape = [1, facts.max_detections, *tensor.shape[2:]]
    return append_files(to_content(model, len(content) + _SPARE), files | {FACTS_FILE: facts.to_json()})
