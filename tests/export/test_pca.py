"""Principal components: what they rebuild, what lies far out along them, and the files that come of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.artifact import read_manifest
from export.errors import UsageError
from export.families import FAMILIES, make_detector
from export.parity import runtime_session
from export.pca import PrincipalModule
from export.training import train
from export.training_config import load_config
from export.windows import Windows
from schemas.artifact import CONTRIBUTION, SCORE, WINDOW
from tests.export.conftest import FEATURES, SilentWatch, config, machine

WIDE = ("a", "b", "c")


def rows_on_a_line(count: int, seed: int) -> np.ndarray:
    """Two features that move together, a third by itself, a tenth as far."""
    rng = np.random.default_rng(seed)
    along = rng.normal(0, 3, count)
    rows = np.stack([along + rng.normal(0, 0.1, count), along + rng.normal(0, 0.1, count), rng.normal(0, 1, count)], 1)
    return rows.astype(np.float32)


def windows(rows: np.ndarray, window: int = 1) -> Windows:
    last = np.arange(window - 1, len(rows))
    return Windows(rows=rows, last=last, length=np.full(len(last), window), window=window)


def fitted(*, window: int = 1, components: int = 1, features: int = 3) -> PrincipalModule:
    rows = np.tile(rows_on_a_line(2000, 0), (1, -(-features // 3)))[:, :features]
    told = load_config(None, {"data": ["a"], "output": "a.onnx", "window": window, "bottleneck": components})
    detector = FAMILIES["pca"].make(told, [str(n) for n in range(features)])
    seen = windows(rows, window)
    module = detector.fit(seen, seen, training_rows=rows, on_epoch=lambda *_: None).module
    assert isinstance(module, PrincipalModule)
    return module


@torch.no_grad()
def test_what_leaves_the_line_scores_above_what_lies_on_it() -> None:
    module = fitted()
    raw, blame, _ = module(
        torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, -1.0, 0.0]], [[30.0, 30.0, 0.0]], [[0.0, 0.0, 9.0]]])
    )
    assert raw[1:].min() > 2 * raw[0]
    assert blame[3].flatten().argmax() == 2


@torch.no_grad()
def test_far_out_along_the_line_is_rebuilt_and_anomalous_all_the_same() -> None:
    module = fitted()
    far = torch.tensor([[[40.0, 40.0, 0.0]]])
    without_distance = module.judged(module.rebuilt(far))[0]
    raw = module(far)[0]
    assert without_distance < 1.5
    assert raw > 5


@torch.no_grad()
def test_usual_windows_count_one_for_error_and_distance() -> None:
    module = fitted(window=4, components=4)
    raw, _, _ = module(torch.from_numpy(windows(rows_on_a_line(2000, 1), 4).take(np.arange(1000))))
    squared = (raw + 0.1) ** 2 - 0.01
    assert squared.mean() == pytest.approx(3, rel=0.15)  # of the window, of its newest rows, along the components


@torch.no_grad()
def test_a_window_that_holds_nothing_scores_nothing() -> None:
    raw, blame, expected = fitted(window=4, components=4)(torch.full((2, 4, 3), torch.nan))
    assert raw.tolist() == [0, 0]
    assert (blame == 0).all()
    assert torch.isfinite(expected).all()


def test_components_of_wide_windows_are_found_without_the_whole_matrix() -> None:
    """2,100 inputs, all copies of three: two directions carry nearly everything."""
    module = fitted(components=2, features=2100)
    found = module.projection.weight
    torch.testing.assert_close(found @ found.T, torch.eye(2), atol=1e-3, rtol=0)
    copies = windows(np.tile(rows_on_a_line(500, 2), (1, 700)))
    with torch.no_grad():
        _, normal, rebuilt = module.rebuilt(torch.from_numpy(copies.take(np.arange(100))))
    assert ((normal - rebuilt) ** 2).mean() < 0.01


def test_a_planted_disturbance_is_found_and_blamed_through_the_file(machines: Path, tmp_path: Path) -> None:
    report = train(config(machines, tmp_path / "pca.onnx", detector="pca", epochs=None), SilentWatch())
    session = runtime_session(report.output.read_bytes())
    unseen = machine(1500, seed=1)[1000:]
    normal = np.lib.stride_tricks.sliding_window_view(unseen, 16, axis=0).transpose(0, 2, 1)[:50].copy()
    disturbed = normal.copy()
    disturbed[:, -1, 1] += 6.0  # three times as far as the current moves in one turn
    score, contribution = session.run([SCORE, CONTRIBUTION], {WINDOW: disturbed})
    assert np.mean(score > 1) > 0.9
    assert (contribution.sum(axis=1).argmax(axis=1) == FEATURES.index("current")).mean() > 0.9
    (quiet,) = session.run([SCORE], {WINDOW: normal})
    assert np.mean(quiet > 1) < 0.1
    assert read_manifest(report.output).detector.family == "pca"


def test_the_same_seed_gives_the_same_file(machines: Path, tmp_path: Path) -> None:
    first = train(config(machines, tmp_path / "one.onnx", detector="pca", epochs=None, name="same"), SilentWatch())
    second = train(config(machines, tmp_path / "two.onnx", detector="pca", epochs=None, name="same"), SilentWatch())
    assert first.digest == second.digest


@pytest.mark.parametrize("option", [{"hidden": [8]}, {"epochs": 3}])
def test_options_of_networks_are_refused(machines: Path, tmp_path: Path, option: dict[str, object]) -> None:
    settings = config(machines, tmp_path / "pca.onnx", **{"detector": "pca", "epochs": None, **option})
    with pytest.raises(UsageError, match=f"--{next(iter(option))} means nothing to --detector pca"):
        make_detector(settings, FEATURES, FAMILIES)
