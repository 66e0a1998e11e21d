"""Detectors behind a view: lines of a log, and events beside their entity's past."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from export.artifact import read_artifact
from export.derived_inputs import DERIVATIONS, DerivedInputs, least_divisors
from export.errors import DataError, UsageError
from export.golden import probing_inputs
from export.labelled import LabelledRows
from export.scoring import Network, score_rows
from export.template_counts import MOST_TEMPLATES, TemplateCounts, templates_of
from export.training import train
from export.training_config import load_config
from export.view import through
from export.windows import Sample, every_window
from schemas.artifact import ELAPSED, SCORE
from schemas.manifest import Manifest
from tests.export.conftest import SilentWatch
from worker.detector import Detector, ExplainRule
from worker.model_store import load_artifact

HOUR_MS = 3_600_000
UNSEEN = 77
SESSION = (5, 5, 22, 11, 9, 11, 9, 26, 26, 21)


def sessions(count: int, *, seed: int = 0) -> list[tuple[int, ...]]:
    """Of a store of blocks: the same lines in nearly the same order, some of them repeated."""
    chance = np.random.default_rng(seed)
    return [SESSION[:7] + (3,) * int(chance.integers(0, 4)) + SESSION[7:] for _ in range(count)]


def log_table(lines: list[tuple[int, ...]]) -> pa.Table:
    names = np.repeat([f"s{place}" for place in range(len(lines))], [len(each) for each in lines])
    return pa.table({"session": names, "template": np.concatenate(lines)})


def payments(people: int, each: int, *, seed: int = 0) -> pa.Table:
    """Everyone pays around a sum of their own, a few times a day."""
    chance = np.random.default_rng(seed)
    usual = chance.uniform(5, 100, people)
    amounts = usual[:, None] * chance.normal(1, 0.2, (people, each)).clip(0.2)
    times = np.cumsum(chance.integers(1, 12, (people, each)), axis=1) * HOUR_MS
    return pa.table(
        {
            "person": np.repeat(np.arange(people), each),
            "time": times.ravel(),
            "amount": amounts.ravel(),
        }
    )


def written(table: pa.Table, folder: Path) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(table, path)
    return path


def trained(table: pa.Table, folder: Path, **settings: object) -> tuple[Network, Manifest]:
    output = folder / "model.onnx"
    told = load_config(None, {"data": [written(table, folder)], "output": output, "epochs": 20, **settings})
    train(told, SilentWatch())
    content, manifest = read_artifact(output)
    return Network(content, manifest), manifest


def rows_of(*entities: np.ndarray, times_ms: np.ndarray | None = None) -> LabelledRows:
    """Entities of (rows, F) features each."""
    counts = np.array([len(entity) for entity in entities])
    features = np.concatenate(entities).astype(np.float32)
    sample = Sample(
        entity=np.repeat(np.arange(len(entities)), counts).astype(np.int32),
        position=np.concatenate([np.arange(count) for count in counts]),
        event_time_ms=times_ms,
        features=features,
        scored=np.ones(len(features), dtype=np.bool_),
        rows_of_entity=counts,
    )
    label = np.zeros(len(features), dtype=np.bool_)
    return LabelledRows(sample=sample, label=label, entities=tuple(f"e{place}" for place in range(len(entities))))


def highest(network: Network, manifest: Manifest, *lines: tuple[int, ...]) -> list[float]:
    """The highest score of each session."""
    rows = rows_of(*(np.array(each)[:, None] for each in lines))
    causal = score_rows(network, manifest, rows, lambda *_: None).causal
    return [float(causal[part].max()) for part in rows.slices()]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Manifest, Path]:
    folder = tmp_path_factory.mktemp("log")
    network, manifest = trained(log_table(sessions(200)), folder, kind="log", entity="session", log_ids="template")
    return network, manifest, folder / "model.onnx"


def test_a_session_with_a_line_never_seen_or_a_line_too_many_scores_above_normal_ones(
    log: tuple[Network, Manifest, Path],
) -> None:
    network, manifest, _ = log
    normal = highest(network, manifest, *sessions(50, seed=1))
    unseen, repeated = highest(network, manifest, (*SESSION[:5], UNSEEN, *SESSION[5:]), (*SESSION, 26, 26, 26, 26))
    assert min(unseen, repeated) > max(normal)


def test_a_session_that_stops_early_is_told_where_the_stream_tells_that_it_is_over(tmp_path: Path) -> None:
    over = 1000
    ended = [(*session, over) for session in sessions(200)]
    network, manifest = trained(log_table(ended), tmp_path, kind="log", entity="session", log_ids="template")
    normal = highest(network, manifest, *((*session, over) for session in sessions(50, seed=1)))
    running, stopped = highest(network, manifest, SESSION[:3], (*SESSION[:3], over))
    assert running <= max(normal) < stopped


def test_every_unseen_template_is_the_same_number(log: tuple[Network, Manifest, Path]) -> None:
    network, manifest, _ = log
    one, other, mixed = highest(network, manifest, (5, 5, 77, 77), (5, 5, 1_000_000, 1_000_000), (5, 5, 77, 0))
    assert one == other == mixed


def test_the_worker_takes_an_artifact_of_logs_and_blames_the_line(log: tuple[Network, Manifest, Path]) -> None:
    _, manifest, path = log
    assert (manifest.kind, manifest.feature_names, manifest.min_length) == ("log", ("template",), 1)
    assert manifest.detector.hyperparameters["templates"] == 7
    assert manifest.detector.hyperparameters["hidden"] == [256, 64]
    artifact = load_artifact(str(path), sha256=manifest.digest)
    assert artifact.manifest.digest == manifest.digest
    network = log[0]
    window = np.full((1, manifest.window, 1), np.nan, dtype=np.float32)
    window[0, -6:, 0] = (5, 5, 22, UNSEEN, 11, 9)
    told = network.explanations({"window": window})
    assert told is not None
    assert told["contribution"][0, :, 0].argmax() == manifest.window - 3
    assert np.isnan(told["expected"]).all()


def test_the_same_log_gives_the_same_file(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        _, manifest = trained(
            log_table(sessions(60)), tmp_path / name, kind="log", entity="session", log_ids="template", epochs=2
        )
        digests.append(manifest.digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (2**24, "rows.parquet, row 12: template holds 16777216; a template is a whole number below 16,777,216."),
        (-1, "rows.parquet, row 12: template holds -1; a template is"),
        (1.5, "rows.parquet, row 12: template holds 1.5; a template is"),
    ],
)
def test_what_is_no_template_number_is_refused_with_its_row(tmp_path: Path, value: float, sentence: str) -> None:
    table = log_table(sessions(50))
    templates = table["template"].to_numpy().astype(np.float64)
    templates[11] = value
    table = table.set_column(1, "template", pa.array(templates))
    with pytest.raises(DataError, match=sentence):
        trained(table, tmp_path, kind="log", entity="session", log_ids="template")


def test_templates_by_name_are_refused_for_the_worker_reads_numbers(tmp_path: Path) -> None:
    table = pa.table({"session": ["a", "a"], "template": ["E5", "E22"]})
    with pytest.raises(UsageError, match="--log-ids template: it holds string, not numbers"):
        trained(table, tmp_path, kind="log", entity="session", log_ids="template")


def test_of_very_many_templates_the_rarest_count_as_unseen() -> None:
    rows = np.repeat(np.arange(MOST_TEMPLATES + 5), 3)
    rows = np.append(rows, np.arange(5, MOST_TEMPLATES + 5)).astype(np.float32)[:, None]
    assert templates_of(rows).tolist() == list(range(5, MOST_TEMPLATES + 5))


def test_lines_are_counted_by_template_and_missing_ones_not_at_all() -> None:
    view = TemplateCounts(np.array([3, 5], dtype=np.float32))
    window = torch.tensor([[[torch.nan], [5.0], [9.0], [5.0], [torch.nan]]])
    assert torch.expm1(view.derived(window, None)).round().tolist() == [[0, 2, 1]]


# --- an event beside its past


@pytest.fixture(scope="module")
def payers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Manifest]:
    folder = tmp_path_factory.mktemp("payers")
    table = payments(60, 20)
    return trained(table, folder, kind="tabular", entity="person", timestamp="time", timestamp_unit="ms")


def test_what_is_usual_for_others_but_not_for_the_payer_is_found(payers: tuple[Network, Manifest]) -> None:
    network, manifest = payers
    assert manifest.detector.hyperparameters["derived"] == [
        "amount: over its median",
        "amount: mean",
        "amount: deviation",
    ]
    frugal = np.array([8, 10, 9, 12, 10, 11, 9, 10], dtype=np.float32)
    usual, odd = np.append(frugal, 10)[:, None], np.append(frugal, 60)[:, None]
    rows = rows_of(usual, odd)
    causal = score_rows(network, manifest, rows, lambda *_: None).causal
    assert causal[-1] > 1 > causal[len(usual) - 1]


def test_only_the_event_itself_is_blamed_and_of_the_past_there_is_no_opinion(payers: tuple[Network, Manifest]) -> None:
    network, manifest = payers
    window = np.full((2, manifest.window, 1), 10, dtype=np.float32)
    window[0, -1] = 60
    told = network.explanations({"window": window})
    assert told is not None
    assert told["contribution"][:, -1, 0].tolist() == pytest.approx([1, 1])
    assert np.isnan(told["expected"][:, :-1]).all()
    assert np.isfinite(told["expected"][:, -1]).all()


def test_all_derivations_survive_the_way_into_a_file_and_the_worker(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    settings = {"kind": "tabular", "entity": "person", "timestamp": "time", "timestamp_unit": "ms", "window": 16}
    derive = ",".join(DERIVATIONS)
    told = load_config(
        None,
        {"data": [written(payments(40, 20), tmp_path)], "output": output, "epochs": 2, "derive": derive, **settings},
    )
    report = train(told, SilentWatch())
    assert report.parity_batches == (1, 3, 64, 1000)
    content, manifest = read_artifact(output)
    network = Network(content, manifest)
    assert ELAPSED in network.inputs
    artifact = load_artifact(str(output), sha256=report.digest)
    assert Detector(artifact, provider="cpu", threads=1, explain=ExplainRule(when="never", threshold=1.0)).needs_elapsed
    window = np.full((1, 16, 1), 10, dtype=np.float32)
    seldom, often = (
        network({"window": window, "elapsed": step * np.arange(15, -1, -1, dtype=np.float32)[None]})[SCORE][0]
        for step in (20_000, 1)
    )
    assert often > seldom


def test_derived_inputs_are_what_their_names_say() -> None:
    window = torch.tensor([[[torch.nan], [4.0], [1.0], [2.0], [8.0]]])
    elapsed = torch.tensor([[torch.nan, 700_000.0, 90_000.0, 3_600.0, 0.0]])
    view = DerivedInputs(["amount"], DERIVATIONS, np.array([0.5], dtype=np.float32))
    found = dict(zip(view.names, view.derived(window, elapsed)[0].tolist(), strict=True))
    assert found == {
        "amount": 8,
        "amount: change": 6,
        "amount: over its median": 4,  # the lower one of 1, 2, 4, 8
        "amount: mean": 3.75,
        "amount: deviation": pytest.approx(np.std([4, 1, 2, 8])),
        "events of 1h": 2,
        "events of 24h": 2,
        "events of 7d": 3,
        "amount: sum of 1h": 10,
        "amount: sum of 24h": 10,
        "amount: sum of 7d": 11,
    }


def test_derived_inputs_know_no_later_row_and_a_missing_value_leaves_nothing_endless() -> None:
    view = DerivedInputs(["a", "b"], ("differences", "ratios", "rolling"), np.array([0.5, 0.5], dtype=np.float32))
    window = torch.full((1, 4, 2), torch.nan)
    nothing = view.derived(window, None)
    assert not torch.isinf(nothing).any()
    window[0, :, 0] = torch.tensor([1.0, 2.0, 3.0, torch.nan])
    of_a = view.derived(window, None)[0]
    assert torch.isnan(of_a[[0, 1, 2, 3, 4, 5]]).all()  # the event itself, its change and its ratio
    assert of_a[6] == 2  # the mean of what is there


def test_nothing_is_divided_by_less_than_a_share_of_the_usual_size() -> None:
    rows = np.array([[10.0, 0.0], [-10.0, 0.0], [np.nan, 0.0]], dtype=np.float32)
    assert least_divisors(rows).tolist() == pytest.approx([0.5, 1e-6])


def test_a_viewed_window_is_one_row_of_derived_inputs() -> None:
    rows = rows_of(np.arange(6, dtype=np.float32)[:, None], np.arange(3, dtype=np.float32)[:, None])
    windows = every_window(rows.sample, window=4, max_gap_ms=None)
    seen = through(DerivedInputs(["x"], ("differences",), np.array([1], dtype=np.float32)), windows)
    assert seen.rows[:, 1].tolist()[1:6] == [1] * 5
    assert np.isnan(seen.rows[[0, 6], 1]).all()
    assert (seen.window, len(seen)) == (1, 9)


def test_probes_keep_times_and_rows_together() -> None:
    times = np.arange(9) * 1000
    rows = rows_of(np.arange(9, dtype=np.float32)[:, None], times_ms=times)
    windows = every_window(rows.sample, window=4, max_gap_ms=None)
    inputs = probing_inputs(windows, min_length=2, seed=0)
    assert inputs[ELAPSED].shape == inputs["window"].shape[:2]
    assert (inputs[ELAPSED][:, -1] == 0).all()
    assert np.isnan(inputs["window"][np.isnan(inputs[ELAPSED])]).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "log"}, "--kind log needs --log-ids"),
        ({"log_ids": "template"}, "--log-ids names the templates of log lines: give --kind log too."),
        ({"kind": "log", "log_ids": "t", "features": ["a"]}, "leave --features out."),
        ({"derive": "ratios"}, "give --kind tabular too."),
        ({"kind": "tabular", "derive": "ratios", "window": 1}, "--window 1 leaves none."),
        ({"kind": "tabular", "derive": "velocities"}, "--derive velocities needs --timestamp"),
        ({"kind": "tabular", "derive": "none,ratios"}, "--derive none stands alone."),
    ],
)
def test_options_that_contradict_each_other_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_config(None, {"data": ["a.csv"], "output": "a.onnx", **settings})


def test_unconcerned_by_entities_without_a_past(tmp_path: Path) -> None:
    network, manifest = trained(
        payments(200, 2).append_column("other", pa.array(np.arange(400) % 7)),
        tmp_path,
        kind="tabular",
        entity="person",
        timestamp="time",
        timestamp_unit="ms",
    )
    assert manifest.window == 1
    assert network.inputs == {"window"}
