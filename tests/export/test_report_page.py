"""The page that `evaluate --report` writes, from files to HTML."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.cli import main
from export.evaluation_plots import MOST_ENTITIES, trade_off_plot
from export.trade_off import trade_off
from tests.artifacts import make_artifact
from tests.pages import assert_colours_are_of_the_page, assert_whole_and_fetching_nothing

Evaluated = Callable[..., tuple[str, dict[str, object]]]


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    """Evaluates rows of machines; the page and the JSON beside it."""

    def run(rows: list[str], *options: str, **knobs: object) -> tuple[str, dict[str, object]]:
        data = tmp_path / "rows.csv"
        data.write_text("\n".join(["machine,time,x,y,bad", *rows]) + "\n", encoding="utf-8")
        model = make_artifact(tmp_path / "m.onnx", **{"name": "<press> & co", **knobs})
        written = tmp_path / "report.html"
        command = ["evaluate", str(model), "--data", str(data), "--label", "bad", "--entity", "machine", *options]
        assert main([*command, "--report", str(written)]) == 0
        beside: dict[str, object] = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
        return written.read_text(encoding="utf-8"), beside

    return run


def machine(name: str, *, rows: int = 300, seed: int = 0, labelled: bool = True) -> list[str]:
    """Rows near 0, a minute apart, of which the last but ten leave it: five labelled ones, and one false alarm."""
    values = np.random.default_rng(seed).normal(size=(rows, 2)) * 0.3
    values[-15:-10, 0] = 8.0
    values[2, 1] = 9.0
    return [
        f"{name},{60 * place},{x:.3f},{y:.3f},{int(labelled and rows - 15 <= place < rows - 10)}"
        for place, (x, y) in enumerate(values)
    ]


TIMES = ["--timestamp", "time", "--timestamp-unit", "s"]


def test_the_page_is_whole_fetches_nothing_and_is_drawn_in_its_own_colours(evaluated: Evaluated) -> None:
    page, _ = evaluated([*machine("a"), *machine("b", seed=1)], *TIMES)
    assert_whole_and_fetching_nothing(page)
    assert_colours_are_of_the_page(page)


def test_every_drawing_has_a_text_that_tells_what_it_shows(evaluated: Evaluated) -> None:
    page, _ = evaluated([*machine("a"), *machine("b", seed=1)], *TIMES)
    alternatives = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert len(alternatives) == page.count("<svg") == 4
    assert alternatives[0].startswith("Scores over time of 2 of 2 entities: 2 of 2 incidents raised an alarm")
    assert "Precision against recall for causal, revised, PCA, prototypes." in alternatives[1]
    assert "Promised 0.1 % at the threshold in use, realised" in alternatives[2]
    assert "Share of false alarms in each tenth" in alternatives[3]


def test_the_worst_incidents_are_told_with_what_they_are_blamed_on(evaluated: Evaluated) -> None:
    page, beside = evaluated([*machine("a"), *machine("b", seed=1)], *TIMES, window=1)
    (worst, _) = beside["worst_incidents"]
    assert worst["delay_rows"] == 0
    assert (worst["last_row"], worst["first_ms"]) == (289, 285 * 60_000)
    blame = worst["blames"][0]
    assert (blame["feature"], blame["value"], blame["rows_ago"]) == ("x", 8.0, 0)
    assert blame["share"] > 0.9
    assert f"{worst['entity']}, 1970-01-01 04:45 UTC to 1970-01-01 04:49 UTC: score {worst['score']:.2f}" in page
    assert "found at once" in page


def test_names_are_escaped_and_the_figures_of_the_json_stand_in_the_tables(evaluated: Evaluated) -> None:
    page, beside = evaluated([*machine("<i>"), *machine("b", seed=1)], *TIMES)
    assert "&lt;press&gt; &amp; co" in page
    assert "<i>" not in page.split("</style>")[1].replace('<i style="width', "")
    assert f">{beside['scores']['causal']['overall']['auroc']:.3f}<" in page


def test_realised_stands_beside_promised_for_every_threshold(evaluated: Evaluated) -> None:
    _, beside = evaluated(machine("a"), *TIMES)
    points = beside["calibration"]
    assert points[0]["promised"] == 0.5
    assert points[-1]["promised"] == pytest.approx(1 / 295)
    realised = [point["realised"] for point in points]
    assert realised == sorted(realised, reverse=True)


def test_without_incidents_times_or_entities_there_is_less_to_draw_but_a_page(evaluated: Evaluated) -> None:
    page, beside = evaluated(machine("a", labelled=False))
    assert_whole_and_fetching_nothing(page)
    assert "Precision against recall" not in page
    assert beside["worst_incidents"] == []
    assert "By entity" not in page


def test_many_entities_are_drawn_in_part_and_the_page_says_so(evaluated: Evaluated) -> None:
    names = [f"m{place}" for place in range(MOST_ENTITIES + 2)]
    page, _ = evaluated([row for name in names for row in machine(name, rows=20, labelled=name == "m9")], *TIMES)
    assert f"The {MOST_ENTITIES} entities with the most incidents; 2 more are in the table below." in page
    assert f"<summary>{len(names)} entities</summary>" in page
    assert ">m9</text>" in page


def test_of_very_many_rows_the_highest_are_drawn(evaluated: Evaluated) -> None:
    page, _ = evaluated(machine("a", rows=20_000), *TIMES)
    assert "Of neighbouring rows the highest is drawn." in page
    assert len(page) < 400_000


def test_the_trade_off_is_drawn_where_the_training_tried_several() -> None:
    points = trade_off({"trade_off": [[8, 0.2], [4, 0.3], ["x", 1], [16, 0.21]], "bottleneck": 8})
    assert points == [(4, 0.3), (8, 0.2), (16, 0.21)]
    plot = trade_off_plot(points)
    assert plot is not None
    assert "From 0.3 at 4 to 0.2 at 8" in plot.caption
    assert trade_off_plot(trade_off({"trade_off": "none", "bottleneck": 8})) is None


def test_a_report_is_an_html_file_that_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = make_artifact(tmp_path / "m.onnx"), tmp_path / "rows.csv"
    data.write_text("x,y,bad\n0,0,0\n", encoding="utf-8")
    command = ["evaluate", str(model), "--data", str(data), "--label", "bad", "--report"]
    assert main([*command, str(tmp_path / "report.pdf")]) == 2
    assert "its name must end in .html" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "no" / "report.html")]) == 2
    assert "--report" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = make_artifact(tmp_path / "m.onnx"), tmp_path / "rows.csv"
    data.write_text("x,y,bad\n0,0,0\n", encoding="utf-8")
    for name in ("export.evaluation_page", "export.evaluation_plots", "schemas.drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = ["--label", "bad", "--report", str(tmp_path / "report.html")]
    assert main(["evaluate", str(model), "--data", str(data), *options]) == 1
    assert "--report needs matplotlib: pip install 'anomaly-worker[files,cpu,picture]'." in capsys.readouterr().err
