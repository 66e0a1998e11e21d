"""Scores through the artifact contract: held to a loop that does by hand what the contract says."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from export.artifact import read_artifact
from export.columns import choose_columns
from export.dataset import Dataset
from export.errors import ArtifactRefusedError
from export.labelled import LabelledRows, read_labelled
from export.scoring import Network, RowScores, score_rows
from export.table_file import open_table
from schemas.artifact import ELAPSED, ENTITY, WINDOW, sealed
from tests.artifacts import artifact_model, make_artifact, manifest_of, with_manifest

HEADER = "machine,time,x,y,bad"
ROWS = [  # a and b by turns; a pauses for an hour after its third row
    "a,0,0.1,0,0",
    "b,0,2,1,1",
    "a,10,3,,1",
    "b,20,0.5,0,0",
    "a,30,0.2,1,0",
    "a,3630,0.3,0,0",
    "b,50,0.4,0,0",
    "a,3640,4,0,1",
    "a,3660,0,0,0",
    "a,3670,0.1,0,0",
    "a,3680,0.2,0,0",
]


def labelled(path: Path) -> LabelledRows:
    path.write_text("\n".join([HEADER, *ROWS]), encoding="utf-8")
    tables = [open_table(path)]
    columns = choose_columns(tables, entity="machine", timestamp="time", timestamp_unit="s", features=("x", "y", "bad"))
    return read_labelled(Dataset(tables, columns), lambda done, total: None)


def scored(folder: Path, **knobs: object) -> tuple[RowScores, Path]:
    model = make_artifact(folder / "m.onnx", **knobs)
    content, manifest = read_artifact(model)
    rows = labelled(folder / "rows.csv")
    return score_rows(Network(content, manifest), manifest, rows, lambda done, total: None), model


def by_hand(model: Path, *, max_gap_s: float, names: tuple[str, ...]) -> tuple[list[float], list[float]]:
    """Causal and revised scores of a's rows and then b's, window by window of up to four rows."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    causal, revised = [], []
    for entity in ("a", "b"):
        own = [line.split(",") for line in ROWS if line.startswith(entity)]
        said: list[list[float]] = [[] for _ in own]
        for last in range(len(own)):
            rows = [last]
            while len(rows) < 4 and rows[0] > 0 and float(own[rows[0]][1]) - float(own[rows[0] - 1][1]) <= max_gap_s:
                rows.insert(0, rows[0] - 1)
            window, ago = np.full((1, 4, 2), np.nan, np.float32), np.full((1, 4), np.nan, np.float32)
            for place, row in zip(range(4 - len(rows), 4), rows, strict=True):
                window[0, place] = [float(cell) if cell else np.nan for cell in own[row][2:4]]
                ago[0, place] = float(own[last][1]) - float(own[row][1])
            place_of = np.array([names.index(entity) + 1 if entity in names else 0])
            every = {WINDOW: window, ELAPSED: ago, ENTITY: place_of}
            answer = dict(zip(outputs, session.run(None, {name: every[name] for name in inputs}), strict=True))
            causal.append(float(answer["score"][0]))
            for place, row in zip(range(4 - len(rows), 4), rows, strict=True):
                step = answer["step_score"][0, place] if "step_score" in answer else answer["score"][0]
                said[row].append(float(step))
        revised += [float(np.mean(values)) for values in said]
    return causal, revised


@pytest.mark.parametrize("max_gap_s", [None, 60.0])
@pytest.mark.parametrize("names", [(), ("b", "z")], ids=["pooled", "by-entity"])
@pytest.mark.parametrize("extras", [(), ("with_elapsed",), ("with_step_score",), ("with_elapsed", "with_step_score")])
def test_both_scores_are_those_of_the_windows_taken_one_by_one(
    max_gap_s: float | None, names: tuple[str, ...], extras: tuple[str, ...], tmp_path: Path
) -> None:
    scores, model = scored(tmp_path, max_gap_s=max_gap_s, entities=names, **dict.fromkeys(extras, True))
    causal, revised = by_hand(model, max_gap_s=max_gap_s or np.inf, names=names)
    assert scores.causal == pytest.approx(causal, rel=1e-5)
    assert scores.revised == pytest.approx(revised, rel=1e-5)


def test_windows_below_the_least_length_are_warming(tmp_path: Path) -> None:
    scores, _ = scored(tmp_path, min_length=3, max_gap_s=60.0)
    a, b = [True, True, False, True, True, False, False, False], [True, True, False]
    assert scores.warming.tolist() == a + b


def test_a_model_whose_golden_windows_come_out_otherwise_is_refused(tmp_path: Path) -> None:
    other = artifact_model(mean=1.0)
    path = tmp_path / "m.onnx"
    path.write_bytes(sealed(with_manifest(other, manifest_of(artifact_model())).SerializeToString()))
    with pytest.raises(ArtifactRefusedError, match="golden windows do not give the score that they should"):
        Network(*read_artifact(path))


def test_a_graph_outside_the_contract_is_refused(tmp_path: Path) -> None:
    model = artifact_model()
    del model.graph.output[0]
    path = tmp_path / "m.onnx"
    path.write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(ArtifactRefusedError, match="not the artifact contract"):
        Network(*read_artifact(path))


def test_what_the_runtime_cannot_load_is_refused() -> None:
    with pytest.raises(ArtifactRefusedError, match="ONNX Runtime refuses the model"):
        Network(b"hello", manifest_of(artifact_model()))
