"""What export, diagnosis and benchmark write."""

from typing import NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict

from mkd_tf.schemas.fields import Amount, Count, File, Fraction, Number, Percent
from mkd_tf.schemas.training import FileFigures, OperatingPoint


class Source(TypedDict):
    """The `.keras` file that something was made from."""

    file: str
    sha256: str


class Origin(TypedDict):
    """How an exported file was made; `calibration` are the ids of the images that gave it its ranges."""

    flags: dict[str, JsonValue]
    source: Source
    versions: dict[str, str]
    calibration: list[str]


class Difference(TypedDict):
    """Absolute differences of one head between file and float model."""

    max: Amount
    mean: Amount


class Kernel(TypedDict):
    """The weights of an operator, see `conversion.tflite.weights_report`."""

    name: str
    operator: str
    shape: list[Count]
    dtype: str
    count: Count
    zeros: Fraction
    distinct: Count
    distinct_per_channel: Count


class Weights(TypedDict):
    """All weights of a TFLite file; `zeros` is a share."""

    kernels: list[Kernel]
    count: Count
    zeros: Fraction
    bytes: Count
    zipped_bytes: Count


class Shipped(TypedDict):
    """The suppression inside the file that ships: its thresholds and AP, and the most that they cost."""

    score_threshold: Fraction
    max_detections: Count
    AP: Percent
    cost: Amount


class Vela(TypedDict):
    """What Arm's compiler for Ethos-U expects of a model on an accelerator."""

    accelerator: str
    inference_ms: Amount
    sram_kib: Amount
    cpu_operators: Count | None
    npu_operators: Count | None


class Micro(TypedDict):
    """What a model takes on a microcontroller; null where it was not measured."""

    model_bytes: Count
    arena_bytes: Count | None
    vela: Vela | None


class ExportedFile(FileFigures, Origin):
    """An exported file in the manifest; `layers` are those of a selective file in `precision`.

    AP is that of the lowest threshold, `shipped` that of the thresholds inside. `score_error` is by
    fit, of scores above 0.2 in the float model.
    """

    sha256: str
    created: str
    labels: list[str]
    AP_float: dict[str, Percent]
    parity: dict[str, Difference]
    recommended_score_threshold: OperatingPoint | None
    shipped: NotRequired[Shipped]
    score_error: NotRequired[dict[str, Difference | None]]
    micro: NotRequired[Micro]
    weights: NotRequired[Weights]
    layers: NotRequired[list[str]]
    precision: NotRequired[str]


class ManifestFile(File):
    """`export/manifest.json`: everything known of the exported files, and the labels they ship with."""

    labels: list[str]
    files: dict[str, ExportedFile]


class LayerErrors(TypedDict):
    """What int8 does to a layer, see `diagnosis.layer_errors`; null where there is no finite number."""

    layer: str
    operator: str
    hurt: Number | None
    scores: Number | None
    box_encodings: Number | None
    class_logits: Number | None
    isolated: Number | None
    isolated_db: Number | None
    accumulated: Number | None
    accumulated_db: Number | None
    step: Number
    zero_point: int
    tensor: str


class DiagnosisFile(Origin, File):
    """`export/diagnosis.json`: relative RMS errors on `images` images, the worst layer first."""

    images: Count
    split: str
    image_ids: list[str]
    total: dict[str, Number | None]
    predicted: dict[str, Number | None]
    layers: list[LayerErrors]


class Latency(TypedDict):
    """How fast a file is; `speed` is how many times as fast as the first."""

    bytes: Count
    median_ms: Amount
    min_ms: Amount
    speed: Amount


class Processor(TypedDict):
    """What times were measured on; `features` are those that kernels are chosen by."""

    name: str
    features: list[str]


class OperatorTime(TypedDict):
    """An operator that was timed on its own; `shape` is its first output's, `ms` by kernels."""

    operator: str
    name: str
    shape: list[Count]
    ms: dict[str, Amount]


class OperatorLatency(TypedDict):
    """The time of a whole file by kernels, `xnnpack` or `plain`, and of its operators in their order."""

    ms: dict[str, Amount]
    operators: list[OperatorTime]


class BenchmarkFile(File):
    """`benchmark --output`: files against each other, by path; `operators` with `--suite=latency`."""

    threads: Count
    runs: Count
    models: dict[str, Latency]
    processor: NotRequired[Processor]
    operators: NotRequired[dict[str, OperatorLatency]]


class CaseFigures(TypedDict):
    """A case of a suite: milliseconds of one `unit` in each of its processes.

    `ratio` is its median processor time as a multiple of the first case's, `peak_mb` the most memory
    that any of its processes had; `missing` says why it was not measured, and is empty where it was.
    """

    unit: str
    wall_ms: list[Amount]
    cpu_ms: list[Amount]
    peak_mb: NotRequired[Amount]
    ratio: Amount | None
    missing: str


class SuiteFile(File):
    """`benchmark --suite --output`: cases against the first; `load` at the beginning and the end."""

    suite: str
    machine: dict[str, str]
    load: list[Amount]
    threads: Count
    rounds: Count
    runs: Count
    cases: dict[str, CaseFigures]
