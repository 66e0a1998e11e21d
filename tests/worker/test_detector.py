"""Windows in, scores out: the contract, the golden windows, and what a batch may not change."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from schemas.artifact import CONTRIBUTION, SCORE, verified_digest
from schemas.manifest import Tensor, Tolerance
from tests.artifacts import artifact_model, manifest_of, sealed_bytes, with_manifest
from worker.batch import Float32, Scores, Windows
from worker.detector import Detector, ExplainRule
from worker.errors import ArtifactError, ExitCode
from worker.model_store import Artifact

NEVER = ExplainRule("never", 1.0)
ANOMALIES = ExplainRule("anomalies", 1.0)
ALL = ExplainRule("all", 1.0)


def artifact_of(model: onnx.ModelProto) -> Artifact:
    file = sealed_bytes(model)
    return Artifact(file, manifest_of(model), verified_digest(file))


def detector(explain: ExplainRule = NEVER, threads: int = 1, **knobs: object) -> Detector:
    return Detector(artifact_of(artifact_model(**knobs)), provider="cpu", threads=threads, explain=explain)


def windows_of(values: Float32, *, elapsed: Float32 | None = None, length: int | None = None) -> Windows:
    rows = len(values)
    return Windows(
        values=values,
        elapsed=elapsed,
        length=np.full(rows, values.shape[1] if length is None else length, np.int64),
        first_offset=np.zeros(rows, np.int64),
        truncated=np.zeros(rows, np.bool_),
        digest=np.zeros(rows, np.uint64),
    )


def some_windows(rows: int, window: int = 4, features: int = 2, *, seed: int = 0) -> Float32:
    random = np.random.default_rng(seed)
    values = 2 * random.standard_normal((rows, window, features), dtype=np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    return values


def score(made: Detector, values: Float32, **columns: object) -> Scores:
    return made.score(windows_of(values, **columns), ["anyone"] * len(values))


def raw_scores(values: Float32) -> Float32:
    """What the artifact of these tests promises, computed without ONNX."""
    squares = np.nan_to_num(values) ** 2
    weights = 0.5 ** np.arange(values.shape[1] - 1, -1, -1)
    return (squares.mean(axis=2) * weights).sum(axis=1)


def test_scores_are_those_of_the_graph() -> None:
    values = some_windows(300)
    scores = score(detector(), values)
    np.testing.assert_allclose(scores.score, raw_scores(values) / 9, rtol=1e-5)
    np.testing.assert_allclose(scores.p_value, np.maximum(0.001 ** (raw_scores(values) / 9), 1e-37), rtol=1e-3)
    assert scores.score.dtype == scores.p_value.dtype == np.float32


def test_no_windows_have_no_scores() -> None:
    scores = score(detector(ALL), np.empty((0, 4, 2), np.float32))
    assert len(scores.score) == len(scores.p_value) == len(scores.explanation.row) == 0
    assert scores.explanation.contribution.shape == scores.explanation.expected.shape == (0, 4, 2)


@given(rows=st.integers(1, 1000), first=st.integers(0, 1000), threads=st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_a_score_is_the_same_to_the_last_bit_in_any_batch(rows: int, first: int, threads: int) -> None:
    values = some_windows(2000)
    whole = score(ONE_THREAD, values)
    part = score(ONE_THREAD if threads == 1 else THREE_THREADS, values[first : first + rows])
    np.testing.assert_array_equal(part.score, whole.score[first : first + rows])
    np.testing.assert_array_equal(part.p_value, whole.p_value[first : first + rows])


ONE_THREAD = detector()
THREE_THREADS = detector(threads=3)


@pytest.mark.parametrize("rows", [1, 2, 3, 15, 16, 17, 64, 511, 512, 513, 1000, 4096, 5000])
def test_batches_of_every_size_agree(rows: int) -> None:
    values = some_windows(rows, 32, 8)
    made = detector(window=32, features=tuple("abcdefgh"))
    whole = score(made, values)
    for row in {0, rows // 2, rows - 1}:
        assert score(made, values[row : row + 1]).score[0] == whole.score[row]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_bad_row_does_not_touch_its_neighbours(bad: float) -> None:
    values = some_windows(100)
    before = score(ONE_THREAD, values)
    values[50] = bad
    after = score(ONE_THREAD, values)
    others = np.arange(100) != 50
    np.testing.assert_array_equal(after.score[others], before.score[others])
    np.testing.assert_array_equal(after.p_value[others], before.p_value[others])
    assert np.isfinite(after.score).all()


def test_a_window_that_is_all_missing_has_a_finite_score() -> None:
    scores = score(ONE_THREAD, np.full((3, 4, 2), np.nan, np.float32))
    np.testing.assert_array_equal(scores.score, np.zeros(3))
    np.testing.assert_array_equal(scores.p_value, np.ones(3))


def test_outputs_that_are_not_finite_are_nan_in_both_columns_and_not_explained() -> None:
    values = some_windows(50)
    values[7, -1] = 100.0
    scores = score(detector(ALL, nan_above=500.0), values)
    assert np.flatnonzero(np.isnan(scores.score)).tolist() == [7]
    assert np.flatnonzero(np.isnan(scores.p_value)).tolist() == [7]
    assert 7 not in scores.explanation.row
    assert len(scores.explanation.row) == 49


def test_a_p_value_is_never_zero() -> None:
    scores = score(ONE_THREAD, np.full((1, 4, 2), 1e30, np.float32))
    assert 0 < scores.p_value[0] < 1e-37
    assert scores.score[0] > 1


def test_only_scores_above_the_threshold_are_explained() -> None:
    values = some_windows(500)
    scores = score(detector(ANOMALIES), values)
    explained = scores.explanation
    assert explained.row.tolist() == np.flatnonzero(scores.score > 1.0).tolist()
    assert 0 < len(explained.row) < 500
    np.testing.assert_allclose(explained.contribution.sum(axis=(1, 2)), 1, rtol=1e-5)
    squares = np.nan_to_num(values[explained.row]) ** 2 * (0.5 ** np.arange(3, -1, -1))[:, None]
    shares = squares / squares.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explained.contribution, shares, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(explained.expected, np.zeros_like(explained.expected))


def test_a_warming_window_is_no_anomaly_and_not_explained() -> None:
    made = detector(ANOMALIES, min_length=4)
    values = np.full((2, 4, 2), 10.0, np.float32)
    assert len(score(made, values, length=3).explanation.row) == 0
    assert len(score(made, values, length=4).explanation.row) == 2


def test_all_or_none_are_explained_where_the_rule_says_so() -> None:
    values = some_windows(40)
    assert score(detector(ALL), values).explanation.row.tolist() == list(range(40))
    assert len(score(detector(NEVER), values).explanation.row) == 0


def test_shares_that_are_not_finite_leave_a_row_scored_but_not_explained() -> None:
    model = artifact_model()
    rename(model, CONTRIBUTION, "share_before")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.999), "almost_one"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(np.nan), "not_a_number"))
    model.graph.node.append(helper.make_node("Greater", ["share_before", "almost_one"], ["alone"]))
    model.graph.node.append(helper.make_node("Where", ["alone", "not_a_number", "share_before"], [CONTRIBUTION]))
    made = Detector(artifact_of(model), provider="cpu", threads=1, explain=ALL)
    values = some_windows(20)
    values[4] = 0.0
    values[4, -1, 0] = 5.0
    scores = score(made, values)
    assert np.isfinite(scores.score).all()
    assert scores.explanation.row.tolist() == [row for row in range(20) if row != 4]


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = new


def test_entities_are_told_apart_by_their_place_and_strangers_are_zero() -> None:
    made = detector(entities=("pump", "fan"))
    values = np.repeat(some_windows(1), 4, axis=0)
    scores = made.score(windows_of(values), ["fan", "stranger", "pump", "fan"])
    np.testing.assert_allclose(scores.score / scores.score[1], [2.0, 1.0, 1.5, 2.0], rtol=1e-6)
    assert scores.unknown_entities == 1
    assert detector().score(windows_of(values), ["stranger"] * 4).unknown_entities == 0  # it tells none apart


def test_elapsed_is_asked_for_where_the_graph_reads_it() -> None:
    assert not ONE_THREAD.needs_elapsed
    made = detector(with_elapsed=True)
    assert made.needs_elapsed
    values = np.ones((2, 4, 2), np.float32)
    elapsed = np.float32([[30, 20, 10, 0], [np.nan, 120, 60, 0]])
    expected = (0.5 ** np.nan_to_num(elapsed / 60, nan=np.inf)).sum(axis=1) / 9 * 2
    np.testing.assert_allclose(score(made, values, elapsed=elapsed).score, expected, rtol=1e-5)


def test_windows_in_another_memory_order_are_scored_the_same() -> None:
    values = some_windows(30)
    np.testing.assert_array_equal(score(ONE_THREAD, np.asfortranarray(values)).score, score(ONE_THREAD, values).score)


def test_the_provider_and_the_reason_for_it_can_be_told() -> None:
    assert (ONE_THREAD.provider, ONE_THREAD.provider_reason) == ("cpu", "inference.provider says so")


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(ArtifactError) as caught:
        Detector(artifact_of(model), provider="cpu", threads=1, explain=NEVER)
    assert caught.value.exit_code == ExitCode.ARTIFACT_REFUSED
    return str(caught.value)


def with_golden(model: onnx.ModelProto, **parts: dict[str, object]) -> onnx.ModelProto:
    manifest = manifest_of(model)
    changed = {part: {**getattr(manifest.golden, part), **values} for part, values in parts.items()}
    return with_manifest(model, manifest.model_copy(update={"golden": manifest.golden.model_copy(update=changed)}))


@pytest.mark.parametrize("name", [SCORE, "p_value", CONTRIBUTION, "expected"])
def test_a_golden_mismatch_is_refused_with_output_and_difference(name: str) -> None:
    model = artifact_model()
    golden = manifest_of(model).golden.outputs[name].array().copy()
    golden.flat[-1] += 0.25
    sentence = refusal(with_golden(model, outputs={name: Tensor.of(golden)}))
    assert sentence.startswith(f"golden outputs out of tolerance on provider cpu: output {name} differs by 0.25 where")


def test_a_golden_value_within_its_tolerance_is_accepted() -> None:
    model = artifact_model()
    golden = manifest_of(model).golden.outputs[SCORE].array() + np.float32(0.25)
    wide = with_golden(
        model, outputs={SCORE: Tensor.of(golden)}, tolerances={SCORE: Tolerance(absolute=0.3, relative=0)}
    )
    Detector(artifact_of(wide), provider="cpu", threads=1, explain=NEVER)


def test_another_weight_is_refused_by_the_golden_windows() -> None:
    model = artifact_model()
    (std,) = (tensor for tensor in model.graph.initializer if tensor.name == "std")
    std.CopyFrom(numpy_helper.from_array(np.float32([1.0, 1.01]), "std"))
    assert "output score differs by" in refusal(model)


def test_a_graph_whose_scores_depend_on_their_neighbours_is_refused() -> None:
    model = artifact_model()
    rename(model, SCORE, "alone")
    model.graph.node.append(helper.make_node("ReduceMean", ["alone"], ["of_all"], keepdims=1))
    model.graph.node.append(helper.make_node("Sub", ["alone", "of_all"], ["centred"]))
    model.graph.node.append(helper.make_node("Add", ["centred", "of_all"], ["almost"]))
    model.graph.node.append(helper.make_node("Max", ["almost", "of_all"], [SCORE]))
    assert "output score differs by" in refusal(model)


def test_a_graph_that_asks_for_more_memory_than_there_is_is_refused() -> None:
    model = artifact_model()
    rename(model, "expected", "small")
    model.graph.initializer.append(numpy_helper.from_array(np.int64([1 << 45, 1, 1]), "huge"))
    model.graph.initializer.append(numpy_helper.from_array(np.int64([0, 1, 2]), "all_axes"))
    model.graph.node.append(helper.make_node("Shape", ["small"], ["small_shape"]))
    model.graph.node.append(helper.make_node("Max", ["small_shape", "huge"], ["huge_shape"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge_shape"], ["zeros"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["zeros", "all_axes"], ["nothing"]))
    model.graph.node.append(helper.make_node("Add", ["small", "nothing"], ["expected"]))
    assert "the golden windows cannot be computed: the cpu provider failed on a single window" in refusal(model)


def test_an_output_of_another_shape_than_declared_is_refused() -> None:
    model = artifact_model()
    rename(model, "expected", "right")
    model.graph.initializer.append(numpy_helper.from_array(np.int64([-1, 2, 4]), "turned"))
    model.graph.node.append(helper.make_node("Reshape", ["right", "turned"], ["expected"]))
    assert "expected" in refusal(model)
