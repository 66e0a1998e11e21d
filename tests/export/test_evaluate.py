"""`evaluate` as its user meets it: what is printed and written, and one sentence where something is wrong."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from export.cli import main
from export.report import TrainingReport
from tests.artifacts import make_artifact
from tests.export.conftest import machine_table
from worker.demo.machines import Machines, labels, load_machines

EXAMPLES = Path(__file__).parents[2] / "examples" / "machines"
Sentence = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "m.onnx", min_length=1)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str, header: str = "machine,time,x,y,bad", name: str = "rows.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Sentence:
    """Runs evaluate, which must fail with the exit code and one sentence."""

    def run(code: int, model: Path, data: Path, *options: str) -> str:
        assert main(["evaluate", str(model), "--data", str(data), "--label", "bad", *options]) == code
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        return told.err.removeprefix("anomaly-export: ").strip()

    return run


@pytest.fixture
def machines_of_the_demo(tmp_path: Path) -> tuple[Machines, Path]:
    """The demo's servers, and their test rows with a column of labels."""
    machines = load_machines(EXAMPLES)
    tables = []
    for server in machines.test:
        rows = pyarrow.csv.read_csv(EXAMPLES / "test" / f"{server}.csv.gz")
        label = labels(machines, server).astype(np.int64)
        tables.append(rows.append_column("bad", pa.array(label)))
    path = tmp_path / "labelled.parquet"
    pyarrow.parquet.write_table(pa.concat_tables(tables), path)
    return machines, path


def figures(path: Path, score: str = "causal") -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))["scores"][score]["overall"]
    return found


def test_the_servers_of_the_demo_from_end_to_end(
    machines_of_the_demo: tuple[Machines, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines, data = machines_of_the_demo
    train = np.concatenate([rows.values for rows in machines.train.values()])
    model = make_artifact(
        tmp_path / "servers.onnx",
        features=machines.features,
        window=8,
        mean=train.mean(axis=0).tolist(),
        std=np.maximum(train.std(axis=0), 0.05).tolist(),
        with_step_score=True,
        min_length=4,
    )
    written = tmp_path / "figures.json"
    columns = ["--entity", "server", "--timestamp", "time", "--label", "bad", "--vus-window", "20"]
    assert main(["evaluate", str(model), "--data", str(data), *columns, "--json", str(written)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "25,920 rows of 6 entities: 39 incidents, 1,295 labelled rows" in " ".join(told.out.split())
    assert "…" not in told.out  # the tables fit a terminal of 80 columns
    assert "promised false alarms 0.1 %" in told.out
    scores = json.loads(written.read_text(encoding="utf-8"))["scores"]
    assert set(scores) == {"causal", "revised", "PCA", "prototypes"}  # this artifact has no quantiles for z-scores
    overall, entities = scores["causal"]["overall"], scores["causal"]["entities"]
    assert set(entities) == set(machines.test)
    assert overall["vus_pr"] == pytest.approx(np.mean([of["vus_pr"] for of in entities.values()]))
    assert overall["incidents_found"] == sum(of["incidents_found"] for of in entities.values())
    assert len(overall["false_alarm_rate_over_time"]) == 10
    assert overall["vus_roc"] > 0.6  # even the plainest detector is better than none
    assert overall["false_episodes_a_day"] == pytest.approx(overall["false_episodes"] / 90)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Two machines of 600 rows, each with an incident of 20 rows."""
    rows = machine_table(machines=2, rows=600)
    speed, label = rows["speed"].to_numpy().copy(), np.zeros(1200, dtype=np.int64)
    for place in (300, 1000):
        speed[place : place + 20] = 200.0
        label[place : place + 20] = 1
    data = tmp_path / "planted.csv"
    changed = rows.set_column(rows.schema.get_field_index("speed"), "speed", pa.array(speed))
    pyarrow.csv.write_csv(changed.append_column("bad", pa.array(label)), data)
    return data


COLUMNS = ["--entity", "machine", "--timestamp", "time", "--label", "bad"]


def test_a_trained_detector_finds_what_was_planted_and_stands_beside_the_z_score(
    trained: TrainingReport, planted: Path
) -> None:
    written = planted.with_name("figures.json")
    assert main(["evaluate", str(trained.output), "--data", str(planted), *COLUMNS, "--json", str(written)]) == 0
    causal, plain = figures(written), figures(written, "z-score")
    assert causal["incidents_found"] == 2
    assert causal["median_delay_rows"] == 0
    assert causal["row_recall"] == 1.0
    assert plain["auroc"] == 1.0
    assert plain["alarms"] == pytest.approx(causal["alarms"], abs=20)  # of equal scores at its threshold all or none


def test_pca_and_prototypes_learn_from_the_training_data_or_say_that_they_did_not(
    trained: TrainingReport, machines: Path, planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = planted.with_name("figures.json")
    heard = {}
    for training in ([], [machines], [planted]):
        options = ["--training-data", *map(str, training)] if training else []
        command = ["evaluate", str(trained.output), "--data", str(planted), *COLUMNS, "--json", str(written), *options]
        assert main(command) == 0
        heard[" ".join(path.name for path in training)] = " ".join(capsys.readouterr().out.split())
        document = json.loads(written.read_text(encoding="utf-8"))
        assert document["rules"]["baselines_learned_from"] in heard[" ".join(path.name for path in training)]
        for name in ("PCA", "prototypes"):
            assert figures(written, name)["auroc"] > 0.95
    assert "learned from the oldest 30 % of these rows; --training-data names what" in heard[""]
    assert "learned from what the model was trained on" in heard["machines.csv"]
    assert "learned from other data than the model was trained on" in heard["planted.csv"]


def test_a_model_that_a_baseline_beats_is_told_so(
    tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(0)
    rows = [f"a,0,{x:.3f},{x + y:.3f},0" for x, y in chance.normal(size=(300, 2)) * (1, 0.01)]
    contradictions = [f"a,0,{x},{-x},1" for x in (0.7, -0.6, 0.8)]  # each value is usual, not both together
    data = table(*rows, *contradictions)
    model = make_artifact(tmp_path / "plain.onnx", window=1)
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad", "--metric", "auroc"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the model does not beat PCA here: AUROC 0." in shown
    assert "against 1.000" in shown


@pytest.fixture
def payments(table: Callable[..., Path]) -> Path:
    """Twelve customers of forty events, of which one in each of eight stands out a little."""
    chance = np.random.default_rng(0)
    rows = []
    for customer in range(12):
        values = chance.normal(size=(40, 2)) * (1 + customer)  # what is much for one is usual for another
        label = np.zeros(40, dtype=np.int64)
        if customer < 8:
            values[20], label[20] = 1.2 * (1 + customer), 1
        times = range(60 * customer, 60 * customer + 40)
        cells = zip(times, values.tolist(), label.tolist(), strict=True)
        rows += [f"c{customer},{time},{x:.3f},{y:.3f},{bad}" for time, (x, y), bad in cells]
    return table(*rows)


CUSTOMERS = ["--entity", "machine", "--timestamp", "time", "--timestamp-unit", "s", "--label", "bad"]


@pytest.mark.parametrize("kind", ["tabular", "log", "image"])
def test_events_that_are_judged_by_themselves_have_no_buffers_and_no_revised_score(
    kind: str, tmp_path: Path, payments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, written = make_artifact(tmp_path / "m.onnx", kind=kind, window=8), tmp_path / "figures.json"
    assert main(["evaluate", str(model), "--data", str(payments), *CUSTOMERS, "--json", str(written)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document["rules"]["vus_window"] == 0
    assert document["rules"]["yardstick"] == "average_precision"
    assert set(document["scores"]) == {"causal", "PCA", "prototypes"}
    assert "VUS: no buffers" in shown
    assert "revised" not in shown


def test_a_buffer_of_the_user_holds_for_events_too(tmp_path: Path, payments: Path) -> None:
    model, written = make_artifact(tmp_path / "m.onnx", kind="tabular", window=8), tmp_path / "figures.json"
    found = []
    for options in ([], ["--vus-window", "100"]):
        command = ["evaluate", str(model), "--data", str(payments), *CUSTOMERS, "--json", str(written), *options]
        assert main(command) == 0
        found.append(figures(written)["vus_pr"])
    assert json.loads(written.read_text(encoding="utf-8"))["rules"]["vus_window"] == 100
    assert found[0] != found[1]


def test_of_events_the_average_precision_decides_whether_a_baseline_wins(
    tmp_path: Path, payments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_artifact(tmp_path / "m.onnx", kind="tabular", window=8, mean=100.0)  # large is normal
    said = {}
    for metrics in ("vus-pr average-precision", "vus-pr", "auroc average-precision"):
        command = ["evaluate", str(model), "--data", str(payments), *CUSTOMERS, "--metric", *metrics.split()]
        written = tmp_path / "figures.json"
        assert main([*command, "--json", str(written)]) == 0
        said[metrics] = json.loads(written.read_text(encoding="utf-8"))["rules"]["yardstick"]
        shown = " ".join(capsys.readouterr().out.split())
        named = {"average_precision": "AP", "vus_pr": "VUS-PR", "auroc": "AUROC"}[said[metrics]]
        assert re.search(rf"the model does not beat (PCA|prototypes) here: {named} 0\.", shown)
    assert list(said.values()) == ["average_precision", "vus_pr", "auroc"]


def test_the_buffer_of_a_short_series_is_a_tenth_of_it(tmp_path: Path, payments: Path) -> None:
    model, written = make_artifact(tmp_path / "m.onnx", window=8), tmp_path / "figures.json"
    found = []
    for options in ([], ["--vus-window", "4"], ["--vus-window", "100"]):
        command = ["evaluate", str(model), "--data", str(payments), *CUSTOMERS, "--json", str(written), *options]
        assert main(command) == 0
        found.append((figures(written)["vus_pr"], figures(written)["vus_roc"]))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_entities_with_incidents_are_shown_first_and_few_without(
    tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    calm = [f"calm{place},0,0,0,0" for place in range(40)]
    data = table(*calm, "one,0,0,0,0", "one,0,9,9,1", *["two,0,0,0,0", "two,0,9,9,1"] * 2)
    model = make_artifact(tmp_path / "m.onnx", window=1)
    command = ["evaluate", str(model), "--data", str(data), "--label", "bad", "--entity", "machine"]
    assert main([*command, "--metric", "auroc"]) == 0
    shown = capsys.readouterr().out
    names = re.findall(r"^ +(calm\d+|one|two) ", shown, re.MULTILINE)
    assert names == ["two", "one", *(f"calm{place}" for place in range(5))] * 2
    assert "35 more entities: see --json" in shown


def test_where_no_entity_has_an_incident_many_are_shown(
    tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(*(f"calm{place},0,0,0,0" for place in range(40)))
    model = make_artifact(tmp_path / "m.onnx", window=1)
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad", "--entity", "machine"]) == 0
    assert "10 more entities: see --json" in capsys.readouterr().out


def test_alarms_are_told_by_calendar_time_and_clear_of_incidents(
    tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What came before an incident stays in the windows for three rows: these alarm, and are no drift."""
    values = [9.0 if 50 <= place < 55 else 0.0 for place in range(100)]
    data = table(*(f"a,{60 * place},{x},{x},{int(x > 0)}" for place, x in enumerate(values)))
    model, written = make_artifact(tmp_path / "m.onnx", window=4), tmp_path / "figures.json"
    command = ["evaluate", str(model), "--data", str(data), *CUSTOMERS, "--metric", "auroc", "--json", str(written)]
    assert main([*command, "--report", str(tmp_path / "page.html")]) == 0
    shown, causal = " ".join(capsys.readouterr().out.split()), figures(written)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Clear of incidents 0 % did: without the up to 3 rows after each incident" in page
    assert "Share of false alarms in each tenth of the time. From 0 % to 60 %" in page
    assert "Clear of incidents from 0 % to 0 %." in page
    assert causal["false_alarm_rate"] == pytest.approx(3 / 95)
    assert causal["false_alarm_rate_clear"] == 0
    assert causal["false_alarm_rate_over_time"][5] == pytest.approx(3 / 5)
    assert causal["false_alarm_rate_clear_over_time"] == [0.0] * 10
    assert figures(written, "revised")["false_alarm_rate_clear"] == 0  # it rises before an incident too
    assert "in tenths of the time from 1970-01-01 00:00 UTC to 1970-01-01 01:39 UTC, oldest first: 0 %" in shown
    assert "clear of incidents: realised 0 %; in the same tenths: 0 %" in shown
    assert "without the up to 3 rows after each incident whose windows still hold a part of it" in shown


def test_without_times_the_tenths_are_of_rows_and_without_incidents_nothing_is_left_out(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), "--data", str(table(*["a,0,0,0,0"] * 20)), "--label", "bad"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "in tenths of each entity's rows, since no times are known, oldest first: 0 %" in shown
    assert "clear of incidents" not in shown


@pytest.mark.parametrize(("labels", "is_told"), [("1" * 20, False), ("1" + "0" * 3, True)])
def test_that_no_row_is_clear_is_told_only_of_normal_rows(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str], *, labels: str, is_told: bool
) -> None:
    data = table(*(f"a,0,0,0,{label}" for label in labels))
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad"]) == 0
    assert ("no normal row is; the windows of all hold" in " ".join(capsys.readouterr().out.split())) is is_told


def test_a_baseline_that_is_as_good_is_called_equal(
    tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(0)
    rows = [f"a,0,{x:.3f},{y:.3f},0" for x, y in chance.normal(size=(300, 2)) * 0.3]
    data = table(*rows, *["a,0,9,-9,1"] * 3)
    model = make_artifact(tmp_path / "plain.onnx", window=1)
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad", "--metric", "auroc"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the model, PCA and prototypes order the rows perfectly here: AUROC 1.000 each" in shown
    assert "does not beat" not in shown


def test_a_few_rows_teach_no_baseline(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), "--data", str(table(*["a,0,0,0,0"] * 9)), "--label", "bad"]) == 0
    assert "PCA and prototypes: too few rows to learn from" in " ".join(capsys.readouterr().out.split())


def test_training_data_that_cannot_be_used_are_named(
    model: Path, table: Callable[..., Path], refusal: Sentence
) -> None:
    data = table("a,0,0,0,0")
    missing = data.with_name("july.csv")
    assert refusal(2, model, data, "--training-data", str(missing)) == (
        f"--training-data {missing}: there is no such file."
    )
    other = table("1,2", header="u,v", name="other.csv")
    assert refusal(2, model, data, "--training-data", str(other)) == "other.csv has no column 'x'; it has u, v."
    assert "would overwrite" in refusal(2, model, data, "--training-data", str(other), "--json", str(other))


def test_columns_may_be_called_otherwise_than_the_features(model: Path, table: Callable[..., Path]) -> None:
    data = table("0,0,0", "9,9,1", "0,0,0", header="left,right,bad")
    written = data.with_name("figures.json")
    options = ["--features", "left,right", "--label", "bad", "--metric", "auroc", "--json", str(written)]
    assert main(["evaluate", str(model), "--data", str(data), *options]) == 0
    causal = figures(written)
    assert "vus_pr" not in causal
    assert causal["incidents_found"] == 1
    assert causal["median_delay_s"] is None  # no times
    assert json.loads(written.read_text(encoding="utf-8"))["scores"]["causal"]["entities"] == {}


def test_without_incidents_the_false_alarms_are_still_told(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(*["a,0,0,0,0"] * 9, "a,0,9,9,0")
    assert main(["evaluate", str(model), "--data", str(data), "--label", "bad"]) == 0
    shown = capsys.readouterr().out
    assert "0 incidents" in shown
    assert "promised false alarms 0.1 %, realised 10 %" in " ".join(shown.split())


def test_a_higher_threshold_promises_fewer_false_alarms(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table("a,0,0,0,0", "a,0,3.5,3.5,1")
    options = ["--label", "bad", "--threshold", "2"]
    assert main(["evaluate", str(model), "--data", str(data), *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "promised false alarms 0.0001 %" in shown
    assert "causal 0 of 1" in shown


def test_names_of_entities_are_no_markup_and_a_metric_named_twice_is_one(
    model: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table("[red]a,0,0,0,0", "[red]a,0,9,9,1", "b,0,0,0,0")
    columns = ["--label", "bad", "--entity", "machine", "--metric", "auroc", "auroc"]
    assert main(["evaluate", str(model), "--data", str(data), *columns]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "[red]a 1.000 b - score" in shown  # b has rows of one kind only


def test_rows_out_of_order_are_refused_by_row(model: Path, table: Callable[..., Path], refusal: Sentence) -> None:
    data = table("a,20,0,0,0", "a,10,0,0,0")
    sentence = refusal(1, model, data, "--entity", "machine", "--timestamp", "time", "--timestamp-unit", "s")
    assert sentence == "rows.csv, row 2: the timestamp of 'a' goes back by 10 s; sort the rows by time."


def test_a_prior_weighs_the_normal_rows(model: Path, table: Callable[..., Path]) -> None:
    data = table("a,0,1,1,1", "a,0,0,0,0", "a,0,2,2,0", "a,0,0,0,0")
    written = data.with_name("figures.json")
    found = []
    for options in ([], ["--prior", "0.01"]):
        assert (
            main(["evaluate", str(model), "--data", str(data), "--label", "bad", "--json", str(written), *options]) == 0
        )
        found.append(figures(written)["average_precision"])
    assert found[1] < found[0] / 5


@pytest.mark.parametrize("name", ["point-adjusted-f1", "PA-F1", "f1_pa", "point-adjusted-recall"])
def test_point_adjusted_figures_are_refused_with_the_reason(
    name: str, model: Path, table: Callable[..., Path], refusal: Sentence
) -> None:
    sentence = refusal(2, model, table("a,0,0,0,0"), "--metric", name)
    assert f"--metric {name} is not computed" in sentence
    assert "a random score reaches 0.73 (TSB-AD, NeurIPS 2024)" in sentence


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("2", "rows.csv, row 2: bad holds 2; a label is 0 (normal) or 1 (anomalous)."),
        ("0.5", "rows.csv, row 2: bad holds 0.5; a label is 0 (normal) or 1 (anomalous)."),
        ("", "rows.csv, row 2: bad is missing; a label is 0 (normal) or 1 (anomalous)."),
        ("yes", "rows.csv, row 2: bad holds 'yes', which is not a number."),
    ],
)
def test_a_wrong_label_is_named_with_file_row_and_column(
    label: str, sentence: str, model: Path, table: Callable[..., Path], refusal: Sentence
) -> None:
    assert refusal(1, model, table("a,0,0,0,0", f"a,0,0,0,{label}", "a,0,0,0,1")) == sentence


def test_labels_of_another_type_are_refused(model: Path, tmp_path: Path, refusal: Sentence) -> None:
    data = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"x": [0.0], "y": [0.0], "bad": [True]}), data)
    assert refusal(2, model, data) == "--label bad: in rows.parquet it holds bool; labels are the numbers 0 and 1."


def test_missing_columns_are_named(model: Path, table: Callable[..., Path], refusal: Sentence) -> None:
    assert refusal(2, model, table("1,0", header="x,bad")) == "rows.csv has no column 'y'; it has x, bad."
    assert refusal(2, model, table("1,0", header="x,y")) == "rows.csv has no column 'bad'; it has x, y."
    whole = table("a,0,0,0,0")
    assert "has no column 'server'" in refusal(2, model, whole, "--entity", "server")
    assert refusal(2, model, whole, "--features", "x") == "--features names 1 columns, but the model reads 2: x, y."


def test_the_label_is_no_feature(model: Path, table: Callable[..., Path], refusal: Sentence) -> None:
    assert "--label bad: the model reads this column" in refusal(2, model, table("a,0,0,0,0"), "--features", "x,bad")


def test_a_file_without_rows_is_refused(model: Path, table: Callable[..., Path], refusal: Sentence) -> None:
    assert refusal(1, model, table()) == "rows.csv: there is no row of data."


def test_a_missing_or_damaged_model_is_refused(
    model: Path, table: Callable[..., Path], refusal: Sentence, tmp_path: Path
) -> None:
    data = table("a,0,0,0,0")
    assert "cannot be read" in refusal(2, tmp_path / "no.onnx", data)
    model.write_bytes(model.read_bytes()[:-9])
    assert "is no sound artifact" in refusal(3, model, data)


@pytest.mark.parametrize("knobs", [{"max_gap_s": 60.0}, {"with_elapsed": True}], ids=["gap", "elapsed"])
def test_a_model_that_needs_times_asks_for_them(
    knobs: dict[str, object], table: Callable[..., Path], refusal: Sentence, tmp_path: Path
) -> None:
    assert "--timestamp" in refusal(2, make_artifact(tmp_path / "t.onnx", **knobs), table("a,0,0,0,0"))


def test_a_score_that_is_not_finite_ends_the_evaluation(
    table: Callable[..., Path], refusal: Sentence, tmp_path: Path
) -> None:
    model = make_artifact(tmp_path / "n.onnx", nan_above=50.0)
    sentence = refusal(1, model, table("a,0,0,0,0", "a,0,99,99,1"), "--entity", "machine")
    assert sentence == "The model gives no finite score for 2 of the rows, the first being row 1 of 'a'."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--vus-window", "-1"], "--vus-window must be 0 or more rows."),
        (["--false-positive-rate", "2"], "--false-positive-rate must be between 0 and 1."),
        (["--prior", "0"], "--prior must be between 0 and 1, without these."),
        (["--prior", "nan"], "--prior must be between 0 and 1, without these."),
        (["--episode-gap", "-1"], "--episode-gap must be 0 or more seconds."),
        (["--threshold", "nan"], "--threshold must be a finite number."),
        (["--metric", "accuracy"], "--metric accuracy: there is no such metric; give vus-pr"),
        (["--timestamp-unit", "weeks"], "--timestamp-unit weeks: give s, ms"),
        (["--json", "nowhere/f.json"], "--json nowhere/f.json: the folder nowhere does not exist; create it first."),
    ],
)
def test_wrong_options_are_told_in_a_sentence(
    options: list[str], sentence: str, model: Path, table: Callable[..., Path], refusal: Sentence
) -> None:
    assert sentence in refusal(2, model, table("a,0,0,0,0"), *options)


def test_no_file_that_is_read_is_overwritten(model: Path, table: Callable[..., Path], refusal: Sentence) -> None:
    data = table("a,0,0,0,0")
    assert "would overwrite" in refusal(2, model, data, "--json", str(data))
    assert "would overwrite" in refusal(2, model, data, "--json", str(model))


def test_without_the_runtime_it_says_what_to_install(
    model: Path, table: Callable[..., Path], refusal: Sentence, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = table("a,0,0,0,0")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("export.scoring", "export.evaluation"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert refusal(1, model, data) == "Evaluating needs onnxruntime: pip install 'anomaly-worker[files,cpu]'."


def test_the_data_must_be_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(model), "--label", "bad"]) == 2
    assert "--data is required" in capsys.readouterr().err
