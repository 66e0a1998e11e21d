"""Small real artifacts for tests: a z-score detector as ONNX, sealed, its golden outputs computed by ONNX Runtime.

The detector: `raw` is the mean over the features of z squared (a missing value counts as the mean), summed over the
rows, each row weighing half as much as the one after it; `score` = raw / 9, so that an event whose features all lie
three standard deviations off, after rows at the mean, is at the threshold. Knows no torch.
"""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from schemas.artifact import (
    CONTRIBUTION,
    ELAPSED,
    ENTITY,
    EXPECTED,
    METADATA_KEY,
    P_VALUE,
    SCORE,
    STEP_SCORE,
    WINDOW,
    sealed,
)
from schemas.manifest import Calibration, Detector, Feature, Golden, Manifest, Tensor, Tolerance, TrainingData

RAW_AT_THRESHOLD = 9.0
LARGEST_Z = 1.0e4  # keeps raw, and so the score, finite for every input
SECONDS_TO_HALVE = 60.0  # with `elapsed`: a row's weight halves with every minute
SMALLEST_P_VALUE = 1.2e-38

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def make_artifact(path: Path, **knobs: object) -> Path:
    """Write an artifact and give its path back; `knobs` as in `artifact_model`."""
    path.write_bytes(artifact_bytes(**knobs))
    return path


def artifact_bytes(**knobs: object) -> bytes:
    """The sealed file; `knobs` as in `artifact_model`."""
    return sealed_bytes(artifact_model(**knobs))


def artifact_model(
    *,
    features: Sequence[str] = ("x", "y"),
    window: int = 4,
    kind: str = "sensor",
    name: str = "z-score",
    version: str = "1",
    min_length: int = 1,
    max_gap_s: float | None = None,
    alarm_rate: float = 0.001,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    with_elapsed: bool = False,
    with_step_score: bool = False,
    entities: Sequence[str] = (),
    with_entity: bool | None = None,
    nan_above: float | None = None,
    crash_above: float | None = None,
    hang_above: float | None = None,
    hang_turns: int = 1 << 62,
    events_per_day: float | None = None,
    golden_windows: int = 5,
) -> onnx.ModelProto:
    """The detector with its manifest, not yet sealed: tests may change it before they seal it.

    `mean` and `std` are one number or one a feature. With `entities` the graph has the `entity` input: raw is
    multiplied by 1 + place / 2 (1 for an unseen entity). Windows whose raw lies above `nan_above` score NaN, as a
    broken model does. Those above `crash_above` end the process that scores them (an integer division that overflows is
    trapped by x86 processors, and ONNX Runtime does not look), those above `hang_above` go through a loop `hang_turns`
    times: by default they are never done.
    """
    with_entity = bool(entities) if with_entity is None else with_entity
    graph = _graph(
        window,
        np.broadcast_to(np.float32(mean), len(features)),
        np.broadcast_to(np.float32(std), len(features)),
        alarm_rate,
        _Traps(nan_above, crash_above, hang_above, hang_turns),
        len(entities) if with_entity else None,
        with_elapsed=with_elapsed,
        with_step_score=with_step_score,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    inputs = golden_inputs(
        golden_windows,
        window,
        mean,
        std,
        len(features),
        len(entities) if with_entity else None,
        with_elapsed=with_elapsed,
    )
    manifest = Manifest(
        name=name,
        version=version,
        kind=kind,
        features=[Feature(name=feature) for feature in features],
        entities=list(entities) if with_entity else [],
        window=window,
        min_length=min_length,
        max_gap_s=max_gap_s,
        alarm_rate=alarm_rate,
        calibration=Calibration(
            windows=1000, threshold=RAW_AT_THRESHOLD, tail_start=0.0, tail_scale=_tail_scale(alarm_rate)
        ),
        detector=Detector(family="z-score"),
        training=TrainingData(sha256="0" * 64, rows=1000, entities=max(1, len(entities))),
        golden=_golden(model, inputs),
        events_per_day=events_per_day,
    )
    return with_manifest(model, manifest)


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """A copy of the model that carries this manifest and no other."""
    return with_manifest_text(model, manifest.model_dump_json())


def with_manifest_text(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """The same with any text in the manifest's place."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    copy.metadata_props.add(key=METADATA_KEY, value=text)
    return copy


def manifest_of(model: onnx.ModelProto) -> Manifest:
    """The manifest that a model carries."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    return Manifest.model_validate_json(entry.value)


def sealed_bytes(model: onnx.ModelProto) -> bytes:
    """The model as a file whose digest holds."""
    return sealed(model.SerializeToString())


def golden_inputs(
    rows: int,
    window: int,
    mean: Sequence[float] | float,
    std: Sequence[float] | float,
    features: int,
    entities: int | None,
    *,
    with_elapsed: bool,
) -> Arrays:
    """Windows around the mean, the second with rows not seen yet, the third with a missing value, the last far off."""
    random = np.random.default_rng(7)
    values = np.float32(mean) + np.float32(std) * random.standard_normal((rows, window, features), dtype=np.float32)
    if rows > 1:
        values[1, : window - 1] = np.nan
    if rows > 2:
        values[2, -1, 0] = np.nan
    values[-1, -1] += 5 * np.float32(std)
    inputs: Arrays = {WINDOW: values}
    if with_elapsed:
        ago = np.arange(window - 1, -1, -1, dtype=np.float32) * np.float32(10.0)
        inputs[ELAPSED] = np.where(np.isnan(values).all(axis=2), np.float32(np.nan), ago)
    if entities is not None:
        inputs[ENTITY] = np.arange(rows, dtype=np.int64) % (entities + 1)
    return inputs


def _tail_scale(alarm_rate: float) -> float:
    return RAW_AT_THRESHOLD / -log(alarm_rate)


def _golden(model: onnx.ModelProto, inputs: Arrays) -> Golden:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    finite = np.isfinite(outputs[SCORE])  # `nan_above` may have struck
    return Golden(
        inputs={name: Tensor.of(array[finite]) for name, array in inputs.items()},
        outputs={name: Tensor.of(array[finite]) for name, array in outputs.items()},
        tolerances={name: Tolerance(absolute=1e-5, relative=1e-4) for name in names},
    )


class _Graph:
    """Nodes and constants in the order in which they are written down."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: object, dtype: type[np.generic] = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


class _Traps(NamedTuple):
    """Above which raw scores the model goes wrong, and how."""

    nan_above: float | None
    crash_above: float | None
    hang_above: float | None
    hang_turns: int


def _graph(
    window: int,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    alarm_rate: float,
    traps: _Traps,
    entities: int | None,
    *,
    with_elapsed: bool,
    with_step_score: bool,
) -> onnx.GraphProto:
    features = len(mean)
    graph = _Graph()
    graph.constant("mean", mean)
    graph.constant("std", std)
    missing = graph.node("IsNaN", WINDOW, output="missing")
    present = graph.node("Where", missing, "mean", WINDOW, output="present")
    distance = graph.node("Div", graph.node("Sub", present, "mean", output="off"), "std", output="distance")
    z = graph.node(
        "Clip", distance, graph.constant("lowest", -LARGEST_Z), graph.constant("highest", LARGEST_Z), output="z"
    )
    weight = _elapsed_weight(graph) if with_elapsed else graph.constant("weight", _row_weights(window, features))
    squares = graph.node("Mul", graph.node("Mul", z, z, output="squared"), weight, output="squares")
    if entities is not None:
        squares = _by_entity(graph, squares, entities)
    both_axes = graph.constant("both_axes", [1, 2], np.int64)
    raw = graph.node("ReduceSum", squares, both_axes, output="raw", keepdims=0)
    _scores(graph, _trapped(graph, raw, traps), alarm_rate)
    _shares(graph, squares, both_axes, window * features)
    graph.node("Expand", "mean", graph.node("Shape", WINDOW, output="shape"), output=EXPECTED)
    outputs = [
        _tensor(SCORE, ["batch"]),
        _tensor(P_VALUE, ["batch"]),
        _tensor(CONTRIBUTION, ["batch", window, features]),
        _tensor(EXPECTED, ["batch", window, features]),
    ]
    if with_step_score:
        by_row = graph.node(
            "ReduceSum", squares, graph.constant("row_axis", [2], np.int64), output="by_row", keepdims=0
        )
        graph.node("Div", by_row, "raw_at_threshold", output=STEP_SCORE)
        outputs.append(_tensor(STEP_SCORE, ["batch", window]))
    inputs = [_tensor(WINDOW, ["batch", window, features])]
    if with_elapsed:
        inputs.append(_tensor(ELAPSED, ["batch", window]))
    if entities is not None:
        inputs.append(_tensor(ENTITY, ["batch"], TensorProto.INT64))
    return helper.make_graph(graph.nodes, "z-score", inputs, outputs, graph.constants)


def _tensor(name: str, shape: Sequence[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _row_weights(window: int, features: int) -> NDArray[np.float32]:
    rows_ago = np.arange(window - 1, -1, -1, dtype=np.float32)
    return (np.float32(0.5) ** rows_ago / features).reshape(window, 1)


def _elapsed_weight(graph: _Graph) -> str:
    unseen = graph.node("IsNaN", ELAPSED, output="unseen")
    exponent = graph.node("Mul", ELAPSED, graph.constant("decay", -log(2) / SECONDS_TO_HALVE), output="exponent")
    decayed = graph.node("Exp", exponent, output="decayed")
    seen = graph.node("Where", unseen, graph.constant("nothing", 0.0), decayed, output="seen")
    return graph.node("Unsqueeze", seen, graph.constant("last_axis", [2], np.int64), output="weight")


def _by_entity(graph: _Graph, squares: str, entities: int) -> str:
    levels = graph.constant("levels", 1 + np.arange(entities + 1) / 2)
    level = graph.node("Gather", levels, ENTITY, output="level")
    column = graph.node("Unsqueeze", level, graph.constant("value_axes", [1, 2], np.int64), output="level_column")
    return graph.node("Mul", squares, column, output="squares_by_entity")


def _trapped(graph: _Graph, raw: str, traps: _Traps) -> str:
    if traps.nan_above is not None:
        broken = graph.node("Greater", raw, graph.constant("nan_above", traps.nan_above), output="broken")
        raw = graph.node("Where", broken, graph.constant("nan", np.nan), raw, output="raw_or_nan")
    if traps.crash_above is not None:
        raw = _crashing(graph, raw, traps.crash_above)
    return raw if traps.hang_above is None else _hanging(graph, raw, traps.hang_above, traps.hang_turns)


def _crashing(graph: _Graph, raw: str, above: float) -> str:
    deadly = graph.node("Greater", raw, graph.constant("crash_above", above), output="deadly")
    one, minus_one = graph.constant("int_one", 1, np.int64), graph.constant("int_minus_one", -1, np.int64)
    divisor = graph.node("Where", deadly, minus_one, one, output="trap_divisor")
    lowest = graph.constant("int_lowest", np.iinfo(np.int64).min, np.int64)
    quotient = graph.node("Div", lowest, divisor, output="quotient")
    ratio = graph.node("Div", quotient, lowest, output="ratio")  # 1: the division is not for nothing
    return graph.node("Mul", raw, graph.node("Cast", ratio, output="factor", to=TensorProto.FLOAT), output="raw_alive")


def _hanging(graph: _Graph, raw: str, above: float, times: int) -> str:
    endless = graph.node("Greater", raw, graph.constant("hang_above", above), output="endless")
    turns = graph.constant("turns", times, np.int64)
    each = graph.node("Where", endless, turns, graph.constant("no_turns", 0, np.int64), output="each_turns")
    count = graph.node("ReduceMax", each, output="count", keepdims=0)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["held"], ["held_on"])],
        "turn",
        [_tensor("turn", [], TensorProto.INT64), _tensor("go", [], TensorProto.BOOL), _tensor("held", ["batch"])],
        [_tensor("go_on", [], TensorProto.BOOL), _tensor("held_on", ["batch"])],
    )
    go = graph.constant("go_first", value=True, dtype=np.bool_)
    return graph.node("Loop", count, go, raw, output="raw_held", body=body)


def _scores(graph: _Graph, raw: str, alarm_rate: float) -> None:
    graph.constant("raw_at_threshold", RAW_AT_THRESHOLD)
    graph.node("Div", raw, "raw_at_threshold", output=SCORE)
    exponent = graph.node("Div", raw, graph.constant("tail", -_tail_scale(alarm_rate)), output="log_p_value")
    p_value = graph.node("Exp", exponent, output="p_value_or_zero")
    graph.node("Max", p_value, graph.constant("smallest", SMALLEST_P_VALUE), output=P_VALUE)


def _shares(graph: _Graph, squares: str, axes: str, values: int) -> None:
    """Each value's part in the sum; equal parts where there is nothing to share."""
    total = graph.node("ReduceSum", squares, axes, output="total", keepdims=1)
    zero = graph.constant("zero", 0.0)
    normal = graph.node("Equal", total, zero, output="normal")
    divisor = graph.node("Where", normal, graph.constant("one", 1.0), total, output="divisor")
    share = graph.node("Div", squares, divisor, output="share")
    graph.node("Where", normal, graph.constant("equal_share", 1.0 / values), share, output=CONTRIBUTION)
