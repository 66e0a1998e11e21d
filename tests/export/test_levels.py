"""Entities of unlike sizes as one detector sees them, and what the worker makes of the file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from export.artifact import read_manifest
from export.calibration import fit_curve
from export.errors import DataError, UsageError
from export.families import FAMILIES
from export.golden import golden_inputs, probing_inputs
from export.graph import EntityDetector, ScoredDetector
from export.levels import Levels, fit_levels
from export.parity import runtime_session
from export.report import TrainingReport, levels_in_words
from export.training import train
from export.windows import Parts, Sample, cut
from schemas.artifact import ENTITY, EXPECTED, SCORE, WINDOW
from tests.export.conftest import FEATURES, START_MS, STEP_MS, SilentWatch, config, machine
from worker.batch import Windows as WorkerWindows
from worker.detector import Detector, ExplainRule
from worker.model_store import load_artifact

W = 16
SIZES: Mapping[str, float] = {"small": 1e-4, "usual": 1.0, "large": 100.0}
"""Of machines that are otherwise alike."""


def rows_of(name: str, rows: int = 1500) -> np.ndarray:
    return machine(rows, seed=list(SIZES).index(name)) * np.float32(SIZES[name])


def parts_of(*entities: np.ndarray) -> Parts:
    """The windows of these entities' rows."""
    lengths = [len(rows) for rows in entities]
    sample = Sample(
        entity=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        position=np.concatenate([np.arange(length) for length in lengths]),
        event_time_ms=None,
        features=np.concatenate(entities).astype(np.float32),
        scored=np.ones(sum(lengths), dtype=np.bool_),
        rows_of_entity=np.array(lengths),
    )
    return cut(sample, window=W, min_length=W // 2, max_gap_ms=None)


def levels_of(*entities: np.ndarray) -> Levels:
    found = fit_levels(
        parts_of(*entities), [f"m{place}" for place in range(len(entities))], FEATURES, window=W, fewest=50
    )
    assert found is not None
    return found


def table(sizes: Mapping[str, float], rows: int = 1500) -> pa.Table:
    values = np.concatenate([machine(rows, seed=place) * size for place, size in enumerate(sizes.values())])
    columns = {name: values[:, place].astype(np.float64) for place, name in enumerate(FEATURES)}
    return pa.table({"machine": np.repeat(list(sizes), rows), **columns})


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Machines of all sizes."""
    path = tmp_path_factory.mktemp("unlike") / "machines.parquet"
    pyarrow.parquet.write_table(table(SIZES), path)
    return path


def trained_on(data: Path, output: Path, **settings: object) -> TrainingReport:
    return train(config(data, output, **{"timestamp": None, **settings}), SilentWatch())


@pytest.fixture(scope="module")
def by_size(unlike: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingReport:
    """What the data say without being asked."""
    return trained_on(unlike, tmp_path_factory.mktemp("levels") / "own.onnx")


@pytest.fixture(scope="module")
def pooled(unlike: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingReport:
    return trained_on(unlike, tmp_path_factory.mktemp("levels") / "pooled.onnx", levels="pooled")


def scores(path: Path, rows: np.ndarray, entity: int | None) -> np.ndarray:
    """Of every full window of one machine."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, W, axis=0).transpose(0, 2, 1)
    inputs = {WINDOW: np.ascontiguousarray(windows)}
    if entity is not None:
        inputs[ENTITY] = np.full(len(windows), entity, np.int64)
    (score,) = runtime_session(path.read_bytes()).run([SCORE], inputs)
    return np.asarray(score)


def with_a_jump(name: str, feature: int = 0) -> np.ndarray:
    """New rows of a machine of which a feature leaves its range at the end, by less than a large one moves."""
    rows = machine(200, seed=7) * np.float32(SIZES[name])
    rows[-3:, feature] += (60, 12, 30)[feature] * SIZES[name]
    return rows


def test_each_entity_has_the_level_and_scale_of_its_own_training_rows() -> None:
    found = levels_of(rows_of("small"), rows_of("large"))
    training = slice(0, int(0.7 * 1500))
    for place, name in ((1, "small"), (2, "large")):
        rows = rows_of(name)[training].astype(np.float64)
        np.testing.assert_allclose(found.level[place], rows.mean(axis=0), rtol=1e-4)
        spread = np.maximum(rows.std(axis=0), (rows.max(axis=0) - rows.min(axis=0)) / 4)
        np.testing.assert_allclose(found.scale[place], spread, rtol=0.05)
    assert (found.level[0] > found.level[1]).all()
    assert (found.level[0] < found.level[2]).all()
    assert found.names == ("m0", "m1")


def test_entities_of_one_size_save_nothing_and_of_all_sizes_much() -> None:
    alike = levels_of(machine(1500, seed=0), machine(1500, seed=1), machine(1500, seed=2))
    unlike = levels_of(*(rows_of(name) for name in SIZES))
    assert abs(alike.saving) < 0.1
    assert unlike.saving > 1.5
    assert (alike.pay, unlike.pay) == (False, True)


def test_one_entity_of_another_size_is_not_the_typical_one() -> None:
    """Four of five would gain nothing by a level of their own, but that the fifth drowns them all."""
    assert levels_of(*(machine(1500, seed=seed) for seed in range(4)), rows_of("large")).pay


def test_features_that_stand_still_say_nothing_of_an_entity() -> None:
    """Ten switches, of which each machine uses three: where one never moved, nobody knows by how much it would."""
    chance = np.random.default_rng(0)
    machines = [(chance.random((1500, 10)) < 0.3) & (chance.permutation(10) < 3) for _ in range(10)]
    found = fit_levels(parts_of(*machines), [f"m{place}" for place in range(10)], "abcdefghij", window=W, fewest=50)
    assert found is not None
    assert found.saving < 0.5
    never = ~machines[0].any(axis=0)
    moving = [
        [scale for one, scale in zip(machines, found.scale[1:, feature], strict=True) if one[:, feature].any()]
        for feature in range(10)
    ]
    usual = np.array([np.median(scales) if scales else np.nan for scales in moving], np.float32)
    np.testing.assert_allclose(found.scale[1][never & ~np.isnan(usual)], usual[never & ~np.isnan(usual)])
    assert (never & ~np.isnan(usual)).sum() > 3


def test_what_is_small_in_all_entities_stays_small() -> None:
    """A feature as good as constant must not come to count by the level of each."""
    tiny = [rows * np.float32([1, 1, 1e-4]) for rows in (machine(1500, seed=0), rows_of("large"))]
    found = levels_of(*tiny)
    assert found.scale[1, 2] > 20 * tiny[0][:, 2].std() / 100


def test_few_long_entities_do_not_decide_for_many_short_ones() -> None:
    short = [machine(60, seed=seed) for seed in range(60)]
    few = levels_of(rows_of("large"), rows_of("usual"), *short)
    assert few.names == ("m0", "m1")
    assert few.saving > 1
    assert 0.3 < few.share < 0.5
    assert not few.pay


def test_an_entity_without_rows_enough_is_seen_as_unknown_ones_are() -> None:
    few = 2 * W
    found = levels_of(rows_of("small"), rows_of("usual"), rows_of("large")[:few])
    assert found.names == ("m0", "m1")
    assert found.place.tolist() == [1, 2, 0]


def test_there_are_no_levels_where_no_entity_has_rows_enough() -> None:
    parts = parts_of(*(machine(3 * W, seed=seed) for seed in range(4)))
    assert fit_levels(parts, [f"m{place}" for place in range(4)], FEATURES, window=W, fewest=50) is None


def test_an_entity_without_any_value_is_unknown() -> None:
    silent = np.full((1500, 3), np.nan, np.float32)
    assert levels_of(rows_of("small"), silent, rows_of("large")).names == ("m0", "m2")


def test_sensors_that_are_silent_while_held_back_say_nothing_of_what_levels_save() -> None:
    silent = rows_of("small")
    silent[1040:1210] = np.nan
    assert levels_of(silent, rows_of("large"), rows_of("large")).saving > 1
    assert levels_of(silent).saving == 0


def test_an_entity_whose_windows_are_not_held_back_is_unknown() -> None:
    """Rows alone calibrate nothing: they may be too few on this side of a gap."""
    parts = parts_of(*(rows_of(name) for name in SIZES))
    kept = parts.entity[parts.calibration.last] != 1
    without = replace(parts, calibration=parts.calibration.at(np.flatnonzero(kept)))
    found = fit_levels(without, list(SIZES), FEATURES, window=W, fewest=50)
    assert found is not None
    assert found.names == ("small", "large")
    assert fit_levels(without, list(SIZES), FEATURES, window=W, fewest=len(without.calibration) + 1) is None


def test_a_feature_that_an_entity_never_had_is_taken_at_the_level_of_all() -> None:
    without = rows_of("usual")
    without[:, 1] = np.nan
    found = levels_of(rows_of("small"), without)
    assert found.level[2, 1] == found.level[0, 1]
    assert found.scale[2, 1] == found.scale[1, 1], "as large as where it moves"
    assert np.isfinite(found.level).all()


def test_no_more_entities_are_named_than_a_file_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.levels._MOST_ENTITIES", 2)
    found = levels_of(rows_of("small", 900), rows_of("usual", 1200), rows_of("large", 1500))
    assert found.names == ("m1", "m2"), "the longest histories, in the data's order"


def test_the_detector_sees_known_entities_alike_and_some_windows_as_of_unknown_ones() -> None:
    parts = parts_of(*(rows_of(name) for name in SIZES))
    found = fit_levels(parts, list(SIZES), FEATURES, window=W, fewest=50)
    assert found is not None
    seen, strangers = found.levelled(parts).parts, found.levelled(parts).strangers
    own = seen.training.rows[seen.training.last[: len(parts.training)]]
    for place in range(3):
        of_one = own[parts.entity[parts.training.last] == place]
        np.testing.assert_allclose(of_one.mean(axis=0), 0, atol=0.05)
        assert (of_one.std(axis=0) > 0.2).all()
    assert len(seen.training) == len(parts.training) + len(parts.training) // 8
    assert len(seen.calibration) == len(strangers) == len(parts.calibration)
    strange = strangers.rows[strangers.last]
    np.testing.assert_allclose(
        strange, (parts.calibration.rows[parts.calibration.last] - found.level[0]) / found.scale[0], rtol=1e-5
    )


def test_unlike_entities_are_judged_each_at_its_own_level(by_size: TrainingReport, pooled: TrainingReport) -> None:
    manifest = read_manifest(by_size.output)
    assert manifest.entities == list(SIZES)
    assert manifest.detector.hyperparameters["levels"]["entities"] == 3
    assert any("each entity is judged at its own usual level and scale" in remark for remark in by_size.remarks)
    assert read_manifest(pooled.output).entities == []
    assert "levels" not in read_manifest(pooled.output).detector.hyperparameters


@pytest.mark.parametrize("feature", range(3))
@pytest.mark.parametrize("name", list(SIZES))
def test_a_jump_is_found_in_a_machine_of_any_size(by_size: TrainingReport, name: str, feature: int) -> None:
    score = scores(by_size.output, with_a_jump(name, feature), 1 + list(SIZES).index(name))
    assert score[-3:].min() > 1
    assert np.median(score[:-3]) < 0.5


def test_without_levels_a_small_machine_hides_among_the_large_ones(pooled: TrainingReport) -> None:
    score = scores(pooled.output, with_a_jump("small"), None)
    assert score.max() < 1


def test_like_entities_are_pooled_unless_it_is_asked_otherwise(tmp_path: Path) -> None:
    data = tmp_path / "alike.parquet"
    pyarrow.parquet.write_table(table({"a": 1.0, "b": 1.0}), data)
    fast = {"detector": "pca", "epochs": None}
    chosen = trained_on(data, tmp_path / "chosen.onnx", **fast)
    asked = trained_on(data, tmp_path / "asked.onnx", levels="own", **fast)
    assert read_manifest(chosen.output).entities == []
    assert read_manifest(asked.output).entities == ["a", "b"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_keeps_parity_on_entities_of_all_sizes(tmp_path: Path, family: str) -> None:
    data = tmp_path / "machines.parquet"
    pyarrow.parquet.write_table(table({"a": 1.0, "b": 10.0, "c": 20.0}, rows=600), data)
    epochs = None if family in {"pca", "prototypes"} else 10
    report = trained_on(data, tmp_path / "any.onnx", levels="own", detector=family, epochs=epochs)
    assert read_manifest(report.output).entities == ["a", "b", "c"]


def test_a_search_is_of_windows_at_the_levels_of_their_entities(unlike: Path, tmp_path: Path) -> None:
    report = trained_on(unlike, tmp_path / "found.onnx", detector="dae", epochs=5, search=1)
    assert read_manifest(report.output).entities == list(SIZES)


def test_an_entity_that_is_left_out_of_the_training_is_unknown(tmp_path: Path) -> None:
    data = tmp_path / "machines.parquet"
    rows = table(SIZES)
    pyarrow.parquet.write_table(rows.append_column("time", pa.array(START_MS + STEP_MS * np.arange(len(rows)))), data)
    out = "2023-11-15T23:13:20Z/2023-11-17T00:12:20Z"  # of the second machine all
    report = trained_on(
        data, tmp_path / "two.onnx", timestamp="time", detector="pca", epochs=None, exclude_ranges=[out]
    )
    assert read_manifest(report.output).entities == ["small", "large"]
    assert any(note.startswith("2 of 3 entities are judged each at their own") for note in report.remarks)


def test_the_same_data_give_the_same_file(unlike: Path, tmp_path: Path) -> None:
    digests = [trained_on(unlike, tmp_path / "machines.onnx", detector="pca", epochs=None).digest for _ in range(2)]
    assert digests[0] == digests[1]


def test_normal_windows_of_known_and_unknown_machines_keep_to_the_alarm_rate(unlike: Path, tmp_path: Path) -> None:
    output = trained_on(unlike, tmp_path / "often.onnx", alarm_rate=0.05).output
    new = {name: rows_of(name, 3000)[1500:] for name in SIZES}
    known = np.concatenate([scores(output, rows, place) for place, rows in enumerate(new.values(), start=1)])
    unknown = np.concatenate([scores(output, rows, 0) for rows in new.values()])
    assert 0.02 < np.mean(known > 1) < 0.12
    assert 0.02 < np.mean(unknown > 1) < 0.12


def test_the_worker_scores_by_the_entities_names(by_size: TrainingReport) -> None:
    detector = Detector(
        load_artifact(str(by_size.output), sha256=None), provider="cpu", threads=1, explain=ExplainRule("all", 1.0)
    )
    names = [*SIZES, "nobody knows"]
    windows = np.stack([with_a_jump(name)[-W:] for name in SIZES] + [with_a_jump("usual")[-W:]])
    ones = np.ones(4, np.int64)
    said = detector.score(
        WorkerWindows(
            values=windows,
            elapsed=None,
            length=ones * W,
            first_offset=ones,
            truncated=np.zeros(4, np.bool_),
            digest=ones.astype(np.uint64),
        ),
        names,
    )
    wanted = runtime_session(by_size.output.read_bytes()).run(
        [SCORE, EXPECTED], {WINDOW: windows, ENTITY: np.array([1, 2, 3, 0])}
    )
    np.testing.assert_allclose(said.score, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(said.explanation.expected, wanted[1], rtol=1e-5)
    for place, size in enumerate(SIZES.values()):
        expected = said.explanation.expected[place, :-3] / size
        np.testing.assert_allclose(expected, windows[place, :-3] / size, atol=30)  # in the units of the entity


class Echo(torch.nn.Module):
    """The largest value is the raw score; everything is blamed and expected as it is seen."""

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return window.abs().amax(dim=(1, 2)), window.abs(), window


def test_places_beyond_the_table_are_unknown_entities() -> None:
    known, unknown = (
        fit_curve(np.random.default_rng(0).exponential(scale, 2000).astype(np.float32), alarm_rate=0.01)
        for scale in (1.0, 3.0)
    )
    level, scale = np.array([[0.0], [10.0]], np.float32), np.array([[1.0], [2.0]], np.float32)
    detector = EntityDetector(Echo(), level, scale, np.array([0, 1]), [unknown, known])
    window = torch.tensor([[[16.0]]]).expand(5, -1, -1)
    said = detector(window, torch.tensor([1, 0, 2, -1, 2**40]))
    np.testing.assert_allclose(said.expected.flatten(), 16, rtol=1e-6)
    plain = [
        ScoredDetector(Echo(), curve)(torch.tensor([[[seen]]])).score for curve, seen in ((known, 3.0), (unknown, 16.0))
    ]
    np.testing.assert_allclose(said.score, [plain[0].item(), *[plain[1].item()] * 4], rtol=1e-6)


def test_golden_windows_show_known_and_unknown_entities() -> None:
    parts = parts_of(*(rows_of(name) for name in SIZES))
    found = fit_levels(parts, list(SIZES), FEATURES, window=W, fewest=50)
    assert found is not None
    seen = found.seen(parts.calibration, parts.entity)
    golden = golden_inputs(seen, min_length=8)[ENTITY]
    assert golden.dtype == np.int64
    assert set(golden.tolist()) == {0, 1, 2, 3}
    assert (probing_inputs(seen, min_length=8, seed=0)[ENTITY] == 0).mean() > 0.15
    assert ENTITY not in golden_inputs(parts.calibration, min_length=8)
    assert (replace(seen, entity=None).inputs(np.arange(3))).keys() == {WINDOW}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"levels": "own", "entity": None}, "--levels own needs --entity"),
        (
            {"levels": "own", "kind": "tabular", "window": None},
            "--levels is for --kind sensor: leave it out with --kind",
        ),
        ({"levels": "pooled", "window": 1}, "--levels is for windows of several events"),
        ({"levels": "mine"}, "--levels must be 'own' or 'pooled', not 'mine'"),
    ],
)
def test_levels_that_make_no_sense_are_refused(
    unlike: Path, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        trained_on(unlike, tmp_path / "model.onnx", **settings)


def test_own_levels_of_entities_that_are_too_short_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "short.parquet"
    pyarrow.parquet.write_table(table({f"m{place}": 1.0 for place in range(30)}, rows=60), data)
    with pytest.raises(DataError, match="--levels own: too few entities have 48 training rows and windows held back"):
        trained_on(data, tmp_path / "model.onnx", levels="own")


def test_the_remark_tells_whom_it_is_about() -> None:
    assert levels_in_words(3, 3, 1.5).startswith("each entity is judged at its own usual level and scale")
    assert "4.5 times as likely" in levels_in_words(3, 3, 1.5)
    assert levels_in_words(1200, 3000, 8).startswith("1,200 of 3,000 entities are judged each at their own usual level")
    assert "2,981 times as likely" in levels_in_words(1200, 3000, 8)
