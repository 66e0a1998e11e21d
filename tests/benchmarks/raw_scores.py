"""What the autoencoder's choices are worth: its raw score in four forms, and windows still filling, as two tables.

`python -m tests.benchmarks.raw_scores` prints what docs/training.md says of them, on the demo's six servers: trained
as the demo's detector is, the second time without hiding cells in training. It takes half a minute.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from export import corruption
from export.families import FAMILIES
from export.progress import TerminalWatch
from export.reconstruction import ReconstructionModule
from export.training import _cut, _dataset, _repeatable, _sample
from export.training_config import TrainingConfig
from export.windows import Windows
from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN, Machines, example_folder, labels, load_machines

Scores = NDArray[np.float32]

FORMS = (
    "mean squared error of the newest row",
    "mean squared error of the window",
    "the same in units of each feature's usual error",
    "plus the mean over the newest eighth",
)
ROWS_SEEN = (16, 4)
FULL_ABOVE = 0.01  # the share of full windows that the others are held against


def trained(machines: Machines) -> tuple[ReconstructionModule, Windows]:
    """The demo's network, and the windows that calibrate its scores."""
    data = sorted(machines.train_files)  # as the shell orders them
    config = TrainingConfig(
        data=data, entity=ENTITY_COLUMN, timestamp=TIME_COLUMN, detector="ae", window=32, output=Path("unwritten.onnx")
    )
    with TerminalWatch(Console(stderr=True)) as watch, _repeatable(config.threads):
        dataset = _dataset(config)
        survey = dataset.survey(lambda rows: watch.rows(rows, None))
        parts = _cut(_sample(dataset, survey, config, watch), survey, config)
        watch.stage("training")
        fitted = (
            FAMILIES["ae"]
            .make(config, dataset.columns.features)
            .fit(parts.training, parts.validation, training_rows=parts.training_rows, on_epoch=watch.epoch)
        )
    module = fitted.module
    assert isinstance(module, ReconstructionModule)
    return module, parts.calibration


@torch.no_grad()
def forms(module: ReconstructionModule, windows: Scores) -> Iterator[Scores]:
    """The raw score of each window (n, W, F) in each of FORMS, up to what does not change their order."""
    flat = torch.from_numpy(windows).flatten(1)
    known = ~torch.isnan(flat)
    normal = module.normalised(flat, known)
    squared = ((module.network(normal) - normal) ** 2 * known).reshape(windows.shape)
    usual = (module.counted / module.weight)[: module.features, 0]  # (feature,) as `accustom` was told
    cells = known.sum(dim=1)
    yield squared[:, -1].sum(dim=1).numpy()
    yield (squared.sum(dim=(1, 2)) / cells).numpy()
    yield ((squared / usual).sum(dim=(1, 2)) / cells).numpy()
    yield raw_score(module, windows)


@torch.no_grad()
def raw_score(module: ReconstructionModule, windows: Scores) -> Scores:
    """As it is built."""
    raw, _, _ = module(torch.from_numpy(windows))
    score: Scores = raw.numpy()
    return score


def average_precision(score: Scores, labelled: NDArray[np.bool_]) -> float:
    """The mean, over the labelled events, of the precision among all that score as high."""
    hits = labelled[np.argsort(-score, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def forms_worth(module: ReconstructionModule, machines: Machines) -> Iterator[tuple[str, float]]:
    """Each form's average precision: of the events of a server once it is warm, then the mean of all servers."""
    each = []
    for server, rows in machines.test.items():
        last = np.arange(module.window // 2 - 1, len(rows.values))
        seen = Windows(rows=rows.values, last=last, length=np.minimum(last + 1, module.window), window=module.window)
        labelled = labels(machines, server)[last]
        scores = forms(module, seen.take(np.arange(len(seen))))
        each.append([average_precision(score, labelled) for score in scores])
    return zip(FORMS, np.mean(each, axis=0).tolist(), strict=True)


def filling(module: ReconstructionModule, held_back: Windows) -> Iterator[float]:
    """For each of ROWS_SEEN: the share of windows of which no more is seen that score above FULL_ABOVE of full ones."""
    full = held_back.take(np.flatnonzero(held_back.length == module.window))
    limit = np.quantile(raw_score(module, full), 1 - FULL_ABOVE)
    for rows in ROWS_SEEN:
        shortened = full.copy()
        shortened[:, :-rows] = np.nan
        yield float((raw_score(module, shortened) > limit).mean())


def main() -> None:
    """Print both tables."""
    machines = load_machines(example_folder())
    module, held_back = trained(machines)
    with patch.object(corruption, "BLANKED_SHARE", 0.0):
        unaccustomed, _ = trained(machines)
    lines = ["| raw score | average precision |", "|---|---|"]
    lines += [f"| {form} | {worth:.2f} |" for form, worth in forms_worth(module, machines)]
    lines += ["", "| rows seen of 32 | without hidden cells in training | with them |", "|---|---|---|"]
    shares = zip(ROWS_SEEN, filling(unaccustomed, held_back), filling(module, held_back), strict=True)
    lines += [f"| {rows} | {100 * without:.1f} % | {100 * with_them:.1f} % |" for rows, without, with_them in shares]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
