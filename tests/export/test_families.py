"""What holds for every family: it finds what was planted, takes whatever data there are, and is the same again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.calibration import fit_curve
from export.detector import Fitted, raw_scores
from export.errors import DataError, UsageError
from export.families import FAMILIES, make_detector
from export.graph import ScoredDetector
from export.onnx_file import to_onnx
from export.parity import check_parity
from export.ranking import auroc
from export.training import train
from export.training_config import KNOBS, load_config
from export.windows import Windows
from schemas.artifact import WINDOW as WINDOW_INPUT
from tests.export.conftest import SilentWatch, config, machine
from worker.model_store import load_artifact

WINDOW = 8
BY_STEPS = sorted(name for name, family in FAMILIES.items() if "epochs" in family.knobs)
NEED_SEVERAL_ROWS = {"conv-ae", "gru-ae"}


def windows(rows: np.ndarray, window: int = WINDOW) -> Windows:
    last = np.arange(window - 1, len(rows))
    return Windows(rows=rows, last=last, length=np.full(len(last), window), window=window)


def fitted(family: str, rows: np.ndarray, *, window: int = WINDOW, **knobs: object) -> Fitted:
    """Trained on the first four fifths of the rows, a little."""
    few = {"epochs": 1} if family in BY_STEPS else {}
    told = load_config(None, {"data": ["a"], "output": "a.onnx", "detector": family, "window": window, **few, **knobs})
    detector = make_detector(told, [f"x{place}" for place in range(rows.shape[1])], FAMILIES)
    border = len(rows) * 4 // 5
    return detector.fit(
        windows(rows[:border], window),
        windows(rows[border:], window),
        training_rows=rows[:border],
        on_epoch=lambda *_: None,
    )


def test_a_wide_network_learns_noisy_waves_to_the_end() -> None:
    """Before gradients were clipped all its units fell silent half-way, and it answered the mean from then on."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3000, 4))
    waves = np.sin(np.arange(3000)[:, None] / 8 + np.linspace(0, 3, 4)) + noise
    curve = fitted("dae", waves.astype(np.float32), window=64, epochs=60, seed=3).curve
    assert curve[-1].validation < 1.5 * min(each.validation for each in curve) < 0.04


def flat_weights(found: Fitted) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in found.module.state_dict().values()])


def scored(found: Fitted, seen: Windows) -> ScoredDetector:
    return ScoredDetector(found.module, fit_curve(raw_scores(found.module, seen), alarm_rate=0.01)).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_planted_anomaly_is_found_and_blamed(family: str) -> None:
    knobs = {"epochs": 40} if family in BY_STEPS else {}
    found = fitted(family, machine(1500, seed=1), **knobs)
    normal = windows(machine(2000, seed=1)[1500:]).take(np.arange(0, 480, 4))
    planted = normal.copy()
    planted[:, -1, 1] += 6.0  # three times as far as the current moves in one turn
    with torch.no_grad():
        raw, blame, expected = found.module(torch.from_numpy(np.concatenate((normal, planted))))
    assert auroc(np.repeat([False, True], len(normal)), raw.double().numpy()) > 0.97
    assert (blame[len(normal) :].sum(dim=1).argmax(dim=1) == 1).double().mean() > 0.8
    assert (expected[len(normal) :, -1, 1] < torch.from_numpy(planted[:, -1, 1])).double().mean() > 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_runtime_agrees_whatever_is_missing(family: str) -> None:
    rows = machine(400, seed=2)
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    rows[:, 2] = 7.0  # never moves
    found = fitted(family, rows)
    seen = windows(rows)
    probes = seen.take(np.arange(0, 390, 5))
    probes[1] = np.nan
    probes[2, :5] = np.nan
    probes[3, :, 0] = np.nan
    probes[4, -1] = np.finfo(np.float32).max
    module = scored(found, seen)
    model = to_onnx(module, {WINDOW_INPUT: probes[:8]}).SerializeToString()
    check_parity(model, module, {WINDOW_INPUT: probes})  # batches of 1, 3, 64, 1000
    assert torch.isfinite(torch.cat([value.flatten() for value in module(torch.from_numpy(probes))])).all()


@pytest.mark.parametrize("family", ["prototypes", "auto"])
@pytest.mark.parametrize("window", [1, WINDOW])
def test_the_runtime_agrees_of_features_that_are_0_or_1(family: str, window: int) -> None:
    rows = (np.random.default_rng(0).random((400, 6)) < 0.1).astype(np.float32)  # many windows are as near to two
    rows[:, 5] = 0.0
    found = fitted(family, rows, window=window)
    seen = windows(rows, window)
    probes = {WINDOW_INPUT: seen.take(np.arange(0, 390))}
    module = scored(found, seen)
    check_parity(to_onnx(module, {WINDOW_INPUT: probes[WINDOW_INPUT][:8]}).SerializeToString(), module, probes)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("features", "window"), [(1, WINDOW), (500, WINDOW), (3, 1)])
def test_any_number_of_features_will_do(family: str, features: int, window: int) -> None:
    if window == 1 and family in NEED_SEVERAL_ROWS:
        with pytest.raises(UsageError, match="--window"):
            fitted(family, machine(300, seed=3), window=1)
        return
    rows = np.tile(machine(300, seed=3), (1, -(-features // 3)))[:, :features]
    rows += np.random.default_rng(3).normal(0, 0.1, rows.shape).astype(np.float32)  # or many would be the same
    found = fitted(family, rows, window=window)
    raw, blame, expected = found.module(torch.from_numpy(windows(rows, window).take(np.arange(5))))
    assert raw.shape == (5,)
    assert blame.shape == expected.shape == (5, window, features)
    assert (blame >= 0).all()
    module, probes = scored(found, windows(rows, window)), {WINDOW_INPUT: windows(rows, window).take(np.arange(64))}
    check_parity(to_onnx(module, {WINDOW_INPUT: probes[WINDOW_INPUT][:8]}).SerializeToString(), module, probes)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_feature_without_any_value_is_refused(family: str) -> None:
    rows = machine(300, seed=4)
    rows[:, 1] = np.nan
    with pytest.raises(DataError, match="feature 'x1' has no value"):
        fitted(family, rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(family: str) -> None:
    rows = machine(400, seed=5)
    first, again, other = (fitted(family, rows, seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    if family != "pca":  # it draws nothing
        assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_training_gives_the_same_file(machines: Path, tmp_path: Path, family: str) -> None:
    told = {"detector": family, "window": 4, "name": "same", "epochs": 1 if family in BY_STEPS else None}
    first, second = (
        train(config(machines, tmp_path / f"{name}.onnx", **told), SilentWatch()) for name in ("one", "two")
    )
    assert first.digest == second.digest
    assert first.output.read_bytes() == second.output.read_bytes()


@pytest.mark.parametrize("kind", ["sensor", "tabular"])
def test_what_is_recommended_gives_the_same_file_again(machines: Path, tmp_path: Path, kind: str) -> None:
    told = {"kind": kind, "detector": "auto", "window": None, "epochs": 1, "name": "same"}
    first, second = (
        train(config(machines, tmp_path / f"{name}.onnx", **told), SilentWatch()) for name in ("one", "two")
    )
    assert first.digest == second.digest
    artifact = load_artifact(str(first.output), sha256=first.digest)  # the worker takes it
    assert artifact.manifest.kind == kind
    assert artifact.manifest.window == 64  # rows of a machine, of which a tabular event is the last


@pytest.mark.parametrize("family", FAMILIES)
def test_fifty_rows_are_too_few(family: str, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("x,y\n" + "".join(f"{number % 7},{number % 5}\n" for number in range(50)))
    with pytest.raises(DataError, match="Too few rows: 50 of one entity make"):
        train(load_config(None, {"data": [path], "output": tmp_path / "few.onnx", "detector": family}), SilentWatch())
    assert [found.name for found in tmp_path.iterdir()] == ["few.csv"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_turns_something_or_is_refused(family: str, knob: str) -> None:
    value = {"hidden": [5], "noise": 1.0, "sparsity": 0.5, "dropout": 0.5, "weight_decay": 0.5}.get(knob, 3)
    if knob not in FAMILIES[family].knobs:
        with pytest.raises(UsageError, match=f"--{knob.replace('_', '-')} means nothing to --detector {family}: leave"):
            fitted(family, machine(300, seed=6), **{knob: value})
        return
    usual, turned = (fitted(family, machine(300, seed=6), **knobs) for knobs in ({}, {knob: value}))
    assert not torch.equal(flat_weights(usual), flat_weights(turned))
