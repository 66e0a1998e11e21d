"""`benchmark`: what is trained, what is kept, what is told. Only the last test trains."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from export.artifact import write_file
from export.benchmark import BenchmarkConfig, benchmark
from export.benchmark_report import Line, lines_of, markdown
from export.benchmark_results import Result
from export.cli import main
from export.errors import DataError, UsageError
from export.training import Watch
from export.training_config import TrainingConfig
from tests.artifacts import artifact_bytes
from tests.export.conftest import SilentWatch
from tests.export.suites import write_suite

Run = Callable[..., tuple[list[Result], list[Line]]]


class Workshop:
    """Stands for `train`: writes a z-score detector for the columns; remembers what it was told."""

    def __init__(self) -> None:
        self.orders: list[TrainingConfig] = []

    def __call__(self, config: TrainingConfig, watch: Watch) -> None:
        watch.stage("training")
        self.orders.append(config)
        if config.detector == "broken":
            raise DataError("it cannot be trained.")
        is_sensor, several = config.kind == "sensor", config.entity is not None
        features = ("x1", "x2") if several else ("x1",) if is_sensor else ("x1", "x2", "x3")
        if config.log_ids is not None:
            features = (config.log_ids,)
        if config.kind == "image":
            features = ("x1", "x2", "x3", "x4")
        content = artifact_bytes(features=features, window=32 if is_sensor else 1, kind=config.kind)
        write_file(content, config.output)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    return write_suite(folder)


@pytest.fixture
def run(suite: Path, tmp_path: Path, workshop: Workshop) -> Run:
    def start(*parts: str, **options: object) -> tuple[list[Result], list[Line]]:
        config = BenchmarkConfig(
            parts=parts or None,
            output=tmp_path / "benchmark.json",
            **{"suite": suite, "seeds": (0, 1), "jobs": 1, **options},
        )
        return benchmark(config, SilentWatch(), lambda result: None, trainer=workshop)

    return start


def test_every_item_is_trained_with_every_seed_and_one_configuration_a_kind(run: Run, workshop: Workshop) -> None:
    results, _ = run("ts_u", "tabular")
    assert [(of.part, of.item, of.seed) for of in results] == [
        ("ts_u", "first", 0),
        ("ts_u", "first", 1),
        ("ts_u", "second", 0),
        ("ts_u", "second", 1),
        ("tabular", "set", 0),
        ("tabular", "set", 1),
    ]
    assert [order.seed for order in workshop.orders] == [0, 1] * 3
    assert [order.kind for order in workshop.orders] == ["sensor"] * 4 + ["tabular"] * 2
    assert all(0.9 < of.figures["vus_pr_causal"] <= 1.1 for of in results[:4])
    assert results[4].figures["auroc"] == 1.0
    assert 0 <= results[4].figures["false_alarms_at_1_percent"] < 0.1


def test_what_is_done_is_kept_and_what_was_refused_is_tried_again(run: Run, workshop: Workshop) -> None:
    first, _ = run("tabular")
    assert len(workshop.orders) == 2
    again, _ = run("tabular", seeds=(0, 1, 2))
    assert [order.seed for order in workshop.orders] == [0, 1, 2]
    assert again[:2] == first
    run("tabular", anew=True)
    assert len(workshop.orders) == 5
    for _ in range(2):
        refused, _ = run("tabular", detector="broken", seeds=(0,))
        assert refused[0].refusal == "it cannot be trained."
    assert len(workshop.orders) == 7  # other options are other work, and a refusal is no result


def test_another_part_leaves_the_results_of_the_first_in_the_file(run: Run, tmp_path: Path) -> None:
    run("tabular")
    run("asd")
    document = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert {of["part"] for of in document["results"]} == {"tabular", "asd"}
    assert {of["part"] for of in document["summary"]} == {"asd"}


def test_only_the_items_asked_for_are_done(run: Run, workshop: Workshop, tmp_path: Path) -> None:
    results, lines = run("ts_u", "tabular", items=("sec", "set"), seeds=(0,))
    assert [(of.part, of.item) for of in results] == [("ts_u", "second"), ("tabular", "set")]
    assert {(line.part, *line.items) for line in lines} == {("ts_u", "second"), ("tabular", "set")}
    run("ts_u", seeds=(0,))
    assert len(workshop.orders) == 3  # the second was done already
    document = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert [of["item"] for of in document["results"]] == ["second", "set", "first"]


def test_sessions_of_a_log_are_trained_by_their_templates(run: Run, workshop: Workshop) -> None:
    (result, _), lines = run("hdfs")
    assert {(order.kind, order.entity, order.log_ids) for order in workshop.orders} == {("log", "session", "template")}
    assert result.refusal is None
    assert {line.metric for line in lines} >= {"average_precision", "recall"}


def test_pictures_are_judged_by_what_is_rebuilt_of_them_too(run: Run, workshop: Workshop) -> None:
    results, lines = run("digits")
    assert {order.kind for order in workshop.orders} == {"image"}
    assert [of.item for of in results] == ["3", "3", "7", "7"]
    first = results[0].figures  # the workshop expects 0 everywhere
    assert first["auroc"] == 1.0
    assert first["psnr"] == pytest.approx(24.082, abs=1e-3)
    assert {line.metric for line in lines} >= {"auroc", "psnr", "psnr_over_wiener"}


def test_the_tables_set_the_mean_beside_what_others_reached(run: Run) -> None:
    results, lines = run("ts_u", "tabular")
    results += run("hdfs", detector="broken")[0]
    text = markdown(results, lines, command="anomaly-export benchmark --suite DIR")
    summary = {(line.part, line.metric): line for line in lines}
    causal, revised = summary["ts_u", "vus_pr_causal"], summary["ts_u", "vus_pr_revised"]
    assert [(other.name, other.figure) for other in causal.published] == [
        ("New", pytest.approx(0.5)),
        ("Old", pytest.approx(0.3)),
    ]
    assert [(other.name, other.figure) for other in causal.plain] == [("ae", pytest.approx(0.2))]
    assert revised.plain[0].figure == pytest.approx(0.4)
    assert f"| ts_u | 2 | VUS-PR causal | **{causal.mean:.3f}** |" in text
    assert "0 of 2 at least as good; best: New 0.500 | 0 of 1 at least as good; best: ae 0.200 |" in text
    assert "0 of 1 at least as good; best: KNN 0.900 | 0 of 1 at least as good; best: knn5 0.850 |" in text
    assert "- hdfs, sessions: it cannot be trained." in text
    assert "## ts_u" in text
    assert "| first |" in text


def test_items_that_not_every_seed_was_done_for_do_not_count(run: Run) -> None:
    results, _ = run("ts_u")
    lines = lines_of(results[:3], Path("nowhere"))
    assert {line.items for line in lines} == {("first",)}
    assert all(line.published == () for line in lines)


def test_results_of_another_code_are_told(run: Run) -> None:
    results, lines = run("tabular")
    foreign = results[0].done({"auroc": 1.0}, family="x", seconds=1, code="other")
    text = markdown([foreign, *results[1:]], lines, command="")
    assert "of 2 states of the code" in text
    assert "states of the code" not in markdown(results, lines, command="")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"suite": Path("nowhere")}, "--suite nowhere: there is no such folder."),
        ({"parts": ("swat",)}, "--parts swat: there is no such part; give ts_u, ts_m, asd"),
        ({"parts": ("ts_m",)}, "--parts ts_m: its files are not in"),
        (
            {"parts": ("ts_u", "asd"), "items": ("fir", "third")},
            "--items third: no item of ts_u, asd begins so.",
        ),
        ({"output": Path("nowhere/f.json")}, "--output nowhere/f.json: the folder nowhere does not exist"),
        ({"output": Path("f.txt")}, "--output f.txt: its name must end in .json."),
    ],
)
def test_wrong_options_are_told_in_a_sentence(options: dict[str, object], sentence: str, suite: Path) -> None:
    with pytest.raises(UsageError) as told:
        benchmark(BenchmarkConfig(**{"suite": suite, **options}), SilentWatch(), lambda result: None)
    assert sentence in str(told.value)


def test_an_empty_folder_and_a_foreign_output_are_told(tmp_path: Path, run: Run) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds none of the parts ts_u, ts_m"):
        run(suite=empty)
    (tmp_path / "benchmark.json").write_text('{"figures": 1}', encoding="utf-8")
    with pytest.raises(DataError, match="holds something else"):
        run("tabular")


def test_side_by_side_the_same_comes_of_it(suite: Path, tmp_path: Path) -> None:
    watch, told = SilentWatch(), []
    wanted = {"suite": suite, "parts": ("ts_u", "tabular"), "seeds": (0, 1), "detector": "pca"}
    beside = BenchmarkConfig(**wanted, jobs=2, output=tmp_path / "beside.json")
    together, _ = benchmark(beside, watch, told.append)
    alone, _ = benchmark(BenchmarkConfig(**wanted, jobs=1, output=tmp_path / "alone.json"), watch, lambda result: None)
    assert [(of.key, of.figures) for of in together] == [(of.key, of.figures) for of in alone]
    assert all(of.figures for of in together)
    assert sorted(of.key for of in told) == sorted(of.key for of in together)
    assert watch.done == [(place, 6) for place in range(7)]
    kept: list[Result] = []
    benchmark(beside, watch, kept.append)
    assert len(watch.done) == 7  # nothing was left to do
    assert [of.key for of in kept] == [of.key for of in together]


def test_from_the_command_line_it_trains_judges_and_writes_both_files(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "figures.json"
    command: Sequence[str] = ["benchmark", "--suite", str(suite), "--items", "set", "--seeds", "0", "--jobs", "1"]
    assert main([*command, "--detector", "pca", "--output", str(output)]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("tabular set, seed 0: AUROC 1.000")
    assert told.out == output.with_suffix(".md").read_text(encoding="utf-8")
    assert "`anomaly-export benchmark --suite DIR --items set --detector pca`: seeds 0," in told.out
    (result,) = json.loads(output.read_text(encoding="utf-8"))["results"]
    assert (result["family"], result["options"]) == ("pca", {"kind": "tabular", "detector": "pca"})
