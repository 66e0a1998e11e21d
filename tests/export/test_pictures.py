"""`--kind image`: one record is one picture; what is told is where it is not as it should be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from export.artifact import read_manifest
from export.errors import DataError, UsageError
from export.families import FAMILIES, make_detector
from export.picture import PictureAutoencoder, Shape, picture_channels, picture_shape
from export.report import TrainingReport
from export.search import Space
from export.training import train
from export.training_config import TrainingConfig, load_config
from schemas.artifact import CONTRIBUTION, EXPECTED, SCORE
from tests.export.conftest import SilentWatch
from tests.export.test_training import outputs
from worker.model_store import load_artifact

HEIGHT, WIDTH = 6, 9
BLACK, WHITE, NOISE = 10.0, 200.0, 5.0


def pictures(count: int, *, seed: int, channels: int = 1) -> np.ndarray:
    """(count, HEIGHT, WIDTH, channels): a bright vertical bar somewhere on a dark ground, and noise."""
    chance = np.random.default_rng(seed)
    place = chance.uniform(1, WIDTH - 2, size=(count, 1, 1, 1))
    bar = np.clip(1.5 - np.abs(np.arange(WIDTH)[:, None] - place), 0, 1)
    bright = BLACK + (WHITE - BLACK) * bar + chance.normal(0, NOISE, size=(count, HEIGHT, WIDTH, channels))
    return bright.astype(np.float32)


def told(data: Path, output: Path, **settings: object) -> TrainingConfig:
    size = {"image_shape": [HEIGHT, WIDTH]}
    return load_config(None, {"data": [data], "output": output, "kind": "image", **size, **settings})


def as_file(values: np.ndarray, path: Path) -> Path:
    flat = values.reshape(len(values), -1)
    digits = len(str(flat.shape[1]))
    pyarrow.parquet.write_table(
        pa.table({f"p{place:0{digits}}": flat[:, place] for place in range(flat.shape[1])}), path
    )
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_file(pictures(600, seed=1), tmp_path_factory.mktemp("pictures") / "bars.parquet")


@pytest.fixture(scope="module")
def bars(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingReport:
    """Trained by the kind alone; written only after ONNX Runtime agreed at several batch sizes."""
    return train(told(data, tmp_path_factory.mktemp("artifact") / "bars.onnx", alarm_rate=0.01), SilentWatch())


@pytest.fixture(scope="module")
def unseen() -> np.ndarray:
    return pictures(60, seed=2)


def windows(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(len(values), 1, -1))


def test_a_planted_defect_is_found_and_the_heat_map_peaks_on_it(bars: TrainingReport, unseen: np.ndarray) -> None:
    defect = unseen.copy()
    chance = np.random.default_rng(3)
    rows, columns = chance.integers(0, HEIGHT, len(unseen)), chance.integers(0, WIDTH, len(unseen))
    each = np.arange(len(unseen))
    is_dark = unseen[each, rows, columns, 0] < (BLACK + WHITE) / 2
    defect[each, rows, columns, 0] = np.where(is_dark, WHITE, BLACK)
    normal, found = outputs(bars.output, windows(unseen)), outputs(bars.output, windows(defect))
    assert np.mean(normal[SCORE] > 1) < 0.1
    assert np.mean(found[SCORE] > 1) > 0.95
    heat = found[CONTRIBUTION].reshape(len(unseen), -1)
    assert np.mean(heat.argmax(axis=1) == rows * WIDTH + columns) > 0.95
    expected = found[EXPECTED].reshape(unseen.shape)[each, rows, columns, 0]
    assert np.mean(np.abs(expected - unseen[each, rows, columns, 0]) < (WHITE - BLACK) / 2) > 0.8


def test_what_is_expected_is_the_picture_without_its_noise(bars: TrainingReport, unseen: np.ndarray) -> None:
    noisy = unseen + np.random.default_rng(4).normal(0, 40, unseen.shape).astype(np.float32)
    expected = outputs(bars.output, windows(noisy))[EXPECTED].reshape(unseen.shape)
    assert np.square(expected - unseen).mean() < np.square(noisy - unseen).mean() / 3


def test_missing_pixels_count_for_nothing_and_are_filled_in(bars: TrainingReport, unseen: np.ndarray) -> None:
    holed = unseen.copy()
    hole = np.random.default_rng(5).random(unseen.shape) < 0.1
    holed[hole] = np.nan
    found = outputs(bars.output, windows(holed))
    assert np.mean(found[SCORE] > 1) < 0.15
    assert (found[CONTRIBUTION].reshape(unseen.shape)[hole] == 0).all()
    filled = found[EXPECTED].reshape(unseen.shape)[hole]
    assert np.abs(filled - unseen[hole]).mean() < np.abs(np.mean(unseen) - unseen[hole]).mean() / 5
    nothing = outputs(bars.output, np.full((2, 1, HEIGHT * WIDTH), np.nan, np.float32))
    assert all(np.isfinite(values).all() for values in nothing.values())


def test_the_worker_takes_the_file_and_its_manifest_tells_the_shape(bars: TrainingReport) -> None:
    manifest = load_artifact(str(bars.output), sha256=bars.digest).manifest
    assert (manifest.kind, manifest.window, manifest.min_length) == ("image", 1, 1)
    assert manifest.detector.family == "conv-ae + prototypes"
    (of_network,) = (told for name, told in manifest.detector.hyperparameters.items() if name == "conv-ae")
    assert isinstance(of_network, dict)
    assert of_network["picture"] == [HEIGHT, WIDTH, 1]


def test_the_same_pictures_and_seed_give_the_same_file(data: Path, tmp_path: Path) -> None:
    same = {"name": "same", "epochs": 2}
    one, two, other = (
        train(told(data, tmp_path / f"{name}.onnx", seed=seed, **same), SilentWatch())
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert one.digest == two.digest
    assert one.digest != other.digest


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"auto", "gru-ae"}))
def test_every_family_of_single_events_takes_pictures_of_several_channels(family: str, tmp_path: Path) -> None:
    colourful = as_file(pictures(120, seed=6, channels=3), tmp_path / "colourful.parquet")
    few = {"epochs": 1} if "epochs" in FAMILIES[family].knobs else {}
    shape = [HEIGHT, WIDTH, 3]
    train(told(colourful, tmp_path / "a.onnx", image_shape=shape, detector=family, **few), SilentWatch())
    assert read_manifest(tmp_path / "a.onnx").detector.family == family


def test_pixels_that_never_moved_do_not_drown_the_others(tmp_path: Path) -> None:
    """All pixels of a channel have one unit."""
    framed = np.pad(pictures(300, seed=7), ((0, 0), (1, 1), (1, 1), (0, 0)))
    shape = [HEIGHT + 2, WIDTH + 2]
    output = tmp_path / "framed.onnx"
    train(told(as_file(framed, tmp_path / "framed.parquet"), output, image_shape=shape, epochs=50), SilentWatch())
    touched, disturbed = framed[:20].copy(), framed[:20].copy()
    touched[:, 0, 0] += 10.0  # in the frame
    disturbed[:, 3, 3] += 100.0
    least, most = (outputs(output, windows(values))[SCORE] for values in (touched, disturbed))
    assert (least < most).all()


@pytest.mark.parametrize(
    ("features", "asked", "sentence"),
    [
        (63, None, "63 features are no square picture: give --image-shape H,W or H,W,C"),
        (64, [8, 7], "--image-shape 8,7 makes 56 features, but there are 64"),
        (64, [4, 4, 3], "--image-shape 4,4,3 makes 48 features, but there are 64"),
    ],
)
def test_a_picture_of_another_size_is_refused(features: int, asked: list[int] | None, sentence: str) -> None:
    names = [f"p{place}" for place in range(features)]
    shape = {} if asked is None else {"image_shape": asked}
    settings = load_config(None, {"data": ["a"], "output": "a.onnx", "kind": "image", "window": 1, **shape})
    with pytest.raises(UsageError) as refused:
        make_detector(settings, names, FAMILIES)
    assert sentence in str(refused.value)


def test_a_square_needs_no_shape_and_other_families_ask_for_none() -> None:
    assert picture_shape(64, None) == Shape(8, 8, 1)
    assert picture_shape(12, [2, 2, 3]) == Shape(2, 2, 3)
    plain = {"data": ["a"], "output": "a.onnx", "kind": "image", "window": 1}
    assert make_detector(load_config(None, {**plain, "detector": "dae"}), ["a", "b", "c"], FAMILIES).family == "dae"
    with pytest.raises(UsageError, match="gru-ae reads rows in their order"):
        make_detector(load_config(None, {**plain, "detector": "gru-ae"}), ["a", "b", "c", "d"], FAMILIES)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (8, 8, 1), (33, 20, 2)])
@pytest.mark.parametrize("depth", [None, 1, 3])
def test_a_picture_of_any_sides_keeps_its_shape(shape: tuple[int, int, int], depth: int | None) -> None:
    channels = picture_channels(Shape(*shape), hidden=None, depth=depth, bottleneck=None)
    network = PictureAutoencoder(Shape(*shape), channels=channels, dropout=0.5).eval()
    flat = torch.randn(2, Shape(*shape).values, generator=torch.Generator().manual_seed(0))
    seen = torch.rand(flat.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    rebuilt = network(flat, seen).detach()
    assert rebuilt.shape == flat.shape
    np.testing.assert_allclose(network(flat[:1], seen[:1]).detach(), rebuilt[:1], atol=1e-5)
    np.testing.assert_array_equal(network(torch.where(seen, flat, 7.0), seen).detach(), rebuilt)


def test_channels_double_from_halving_to_halving() -> None:
    def channels(*shape: int, **knobs: object) -> tuple[int, ...]:
        return picture_channels(Shape(*shape), **{"hidden": None, "depth": None, "bottleneck": None, **knobs})

    assert channels(8, 8, 1) == (64, 128)
    assert channels(3, 50, 1) == (32,)
    assert channels(28, 28, 1) == (16, 32, 64)
    assert channels(256, 256, 3) == (8, 16, 32, 64)
    assert channels(8, 8, 1, depth=3, bottleneck=5) == (64, 128, 5)
    assert channels(8, 8, 1, hidden=[7, 9]) == (7, 9, 128)


def test_knobs_are_searched_for_pictures_too() -> None:
    names = [f"p{place}" for place in range(64)]
    settings = {"data": ["a"], "output": "a.onnx", "kind": "image", "window": 1, "detector": "conv-ae", "search": 2}
    assert {"noise", "depth"} <= set(Space.of(load_config(None, settings), names, FAMILIES).ranges)


def test_seventy_pictures_are_too_few_and_eighty_are_not(tmp_path: Path) -> None:
    few = as_file(pictures(70, seed=8), tmp_path / "few.parquet")
    with pytest.raises(DataError, match=r"make 49 training windows where 50 are needed; give about 7\d rows\."):
        train(told(few, tmp_path / "few.onnx"), SilentWatch())
    enough = as_file(pictures(80, seed=8), tmp_path / "enough.parquet")
    report = train(told(enough, tmp_path / "enough.onnx", epochs=1), SilentWatch())
    assert any("72 calibration windows are few for an alarm rate" in remark for remark in report.remarks)
