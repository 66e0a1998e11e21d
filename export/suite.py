"""A directory of public data in, the parts of a benchmark out: what to train on, what to score, how that is judged.

A part is one file and one kind of event; its items (a series, a set of rows) are trained and judged each by itself.
Nothing here trains or scores.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from export.errors import DataError
from export.labelled import LabelledRows
from export.ranking import auroc, average_precision, recall_at, weights_of_prior
from export.scoring import RowScores
from export.vus import volumes

LABEL = "label"
"""The column of labels in what is scored."""

_ASD_WINDOW = 100  # rows of the widest buffer
_HDFS_NORMAL_WEIGHT = 79.05  # the test part holds so many times fewer normal sessions than there are: 2.93 % anomalous
_HDFS_FALSE_POSITIVE_RATE = 0.001
_HDFS_END = 1000  # no template of HDFS has this number
_CARD_TRAINING = ("2018-07-11", "2018-07-18")  # the second day is no more part of it
_CARD_SEEN = "2018-07-18"  # from here on the rows fill windows
_CARD_TEST = ("2018-07-25", "2018-08-01")
_DIGITS_WHITEST = 16.0
_CARD_EPOCH = np.datetime64("2018-04-01")

Figures = dict[str, float]
Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoising:
    """Rows with noise, and what the detector's `expected` of them is worth."""

    noisy: Float32  # (n, F)
    judge: Callable[[Float32], Figures]  # of (n, F)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One item."""

    training: pa.Table
    scored: pa.Table  # the same columns, and LABEL
    judge: Callable[[LabelledRows, RowScores], Figures]
    normal: Callable[[LabelledRows], Bool]  # (n,) the rows whose alarms are false, and that training has not seen
    columns: Mapping[str, object] = field(default_factory=dict)  # entity, timestamp, timestamp_unit: options of train
    denoising: Denoising | None = None  # where events are judged by what is rebuilt of them, too


class Part(Protocol):
    """One data set of the suite."""

    name: str
    kind: str  # of event, as `train` names it
    files: Sequence[Path]  # what it is read from; the suite may lack them

    def items(self) -> list[str]:
        """Their names, in the file's order."""
        ...

    def task(self, item: str) -> Task:
        """What is to be done for one of them."""
        ...


def parts_of(suite: Path) -> dict[str, Part]:
    """Every part by its name, whether its file is there or not."""
    known: list[Part] = [
        Series(suite, "ts_u"),
        Series(suite, "ts_m"),
        Servers(suite),
        Tabular(suite),
        Cards(suite),
        Sessions(suite),
        Sessions(suite, ended=True),
        Digits(suite),
    ]
    return {part.name: part for part in known}


class _Arrays:
    """Arrays by name in one .npz file, read as they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                yield arrays
        except (OSError, ValueError, BadZipFile) as error:
            raise DataError(f"{self.path} is no readable .npz file: {error}.") from error

    @cached_property
    def names(self) -> list[str]:
        """What stands before the last slash of each name, once."""
        with self._open() as arrays:
            return list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        with self._open() as arrays:
            if name not in arrays:
                raise DataError(f"{self.path} has no array {name!r}.")
            return np.asarray(arrays[name], dtype=np.float32)


class Series:
    """TSB-AD: each series has a training prefix, and is judged whole by VUS-PR, as its benchmark does."""

    kind = "sensor"

    def __init__(self, suite: Path, name: str) -> None:
        self.name = name
        self._arrays = _Arrays(suite / f"{name}_public.npz")
        self._facts_path = suite / f"{name}_public.json"
        self.files: Sequence[Path] = (self._arrays.path, self._facts_path)

    @cached_property
    def _facts(self) -> dict[str, dict[str, int]]:
        facts = json.loads(self._facts_path.read_text(encoding="utf-8"))
        return {of["name"]: {name: of[name] for name in ("train_len", "vus_window")} for of in facts}

    def items(self) -> list[str]:
        """See Part."""
        return [name for name in self._facts if name in set(self._arrays.names)]

    def task(self, item: str) -> Task:
        """See Part."""
        rows, label = self._arrays[f"{item}/x"], self._arrays[f"{item}/y"]
        known, window = self._facts[item]["train_len"], self._facts[item]["vus_window"]

        def judge(labelled: LabelledRows, scores: RowScores) -> Figures:
            return {
                "vus_pr_causal": volumes(labelled.label, scores.causal, window=window).pr,
                "vus_pr_revised": volumes(labelled.label, scores.revised, window=window).pr,
            }

        return Task(
            training=_table(rows[:known]),
            scored=_table(rows, label),
            judge=judge,
            normal=lambda labelled: ~labelled.label & (labelled.sample.position >= known),
        )


class Servers:
    """ASD: one model for all servers, as a user would train it; each server is judged by itself, the mean counts."""

    name, kind = "asd", "sensor"

    def __init__(self, suite: Path) -> None:
        self._arrays = _Arrays(suite / "asd_public.npz")
        self.files: Sequence[Path] = (self._arrays.path,)

    def items(self) -> list[str]:
        """See Part."""
        return ["all servers"]

    def task(self, item: str) -> Task:
        """See Part."""
        del item
        names = self._arrays.names
        return Task(
            training=pa.concat_tables(_of_entity(name, self._arrays[f"{name}/x_train"]) for name in names),
            scored=pa.concat_tables(
                _of_entity(name, self._arrays[f"{name}/x_test"], self._arrays[f"{name}/y_test"]) for name in names
            ),
            columns={"entity": "entity"},
            judge=self._judge,
            normal=lambda labelled: ~labelled.label,
        )

    def _judge(self, labelled: LabelledRows, scores: RowScores) -> Figures:
        def mean(score: Float64) -> float:
            each = [volumes(labelled.label[rows], score[rows], window=_ASD_WINDOW).pr for rows in labelled.slices()]
            return float(np.mean(each))

        return {"vus_pr_causal": mean(scores.causal), "vus_pr_revised": mean(scores.revised)}


class Tabular:
    """ADBench: the first half of the normal rows in the file's order trains, all others are judged."""

    name, kind = "tabular", "tabular"

    def __init__(self, suite: Path) -> None:
        self._arrays = _Arrays(suite / "tabular_public.npz")
        self.files: Sequence[Path] = (self._arrays.path,)

    def items(self) -> list[str]:
        """See Part."""
        return self._arrays.names

    def task(self, item: str) -> Task:
        """See Part."""
        rows, label = self._arrays[f"{item}/X"], self._arrays[f"{item}/y"]
        normal = np.flatnonzero(label == 0)
        training = normal[: len(normal) // 2]
        rest = np.setdiff1d(np.arange(len(rows)), training)
        return Task(
            training=_table(rows[training]),
            scored=_table(rows[rest], label[rest]),
            judge=_order_of_rows,
            normal=lambda labelled: ~labelled.label,
        )


class Cards:
    """Card transactions: a week trains, without labels; a week later on, scenarios 1 and 3 are judged each alone."""

    name, kind = "card", "tabular"

    def __init__(self, suite: Path) -> None:
        self._path = suite / "card_tx_public.parquet"
        self.files: Sequence[Path] = (self._path,)

    def items(self) -> list[str]:
        """See Part."""
        return ["transactions"]

    def task(self, item: str) -> Task:
        """See Part."""
        del item
        whole = pyarrow.parquet.read_table(self._path).sort_by("ts")
        columns = ["customer", "ts", "amount"]
        scored = whole.filter(_between(_CARD_SEEN, _CARD_TEST[1]))
        # As LabelledRows are ordered: customers by their first row, each customer's in order.
        order = np.argsort(scored["customer"].combine_chunks().dictionary_encode().indices.to_numpy(), kind="stable")
        scenario = scored["scenario"].to_numpy()[order]
        is_tested = scored["ts"].to_numpy()[order] >= _seconds(_CARD_TEST[0])

        def judge(labelled: LabelledRows, scores: RowScores) -> Figures:
            def of(wanted: int) -> float:
                rows = is_tested & (~labelled.label | (scenario == wanted))
                return auroc(labelled.label[rows], scores.causal[rows])

            first, third = of(1), of(3)
            return {"auroc": (first + third) / 2, "auroc_scenario_1": first, "auroc_scenario_3": third}

        return Task(
            training=whole.filter(_between(*_CARD_TRAINING)).select(columns),
            scored=scored.select(columns).append_column(LABEL, pc.cast(scored["fraud"], pa.int64())),
            columns={"entity": "customer", "timestamp": "ts", "timestamp_unit": "s"},
            judge=judge,
            normal=lambda labelled: ~labelled.label & is_tested,
        )


class Sessions:
    """HDFS: sessions of template numbers; a session scores as its highest event does.

    Where they are `ended`, each has one line more that says so, as if the stream told when a session is over.
    """

    kind = "log"

    def __init__(self, suite: Path, *, ended: bool = False) -> None:
        self.name = "hdfs_ended" if ended else "hdfs"
        self._end = f" {_HDFS_END}" if ended else ""
        self._path = suite / "log_hdfs_sequences.csv.gz"
        self.files: Sequence[Path] = (self._path,)

    def items(self) -> list[str]:
        """See Part."""
        return ["sessions"]

    def task(self, item: str) -> Task:
        """See Part."""
        del item
        sessions = pyarrow.csv.read_csv(self._path)
        is_training = pc.equal(sessions["split"], "train")
        return Task(
            training=_events(sessions.filter(is_training), self._end).drop_columns([LABEL]),
            scored=_events(sessions.filter(pc.invert(is_training)), self._end),
            columns={"entity": "session", "log_ids": "template"},
            judge=self._judge,
            normal=lambda labelled: ~labelled.label,
        )

    def _judge(self, labelled: LabelledRows, scores: RowScores) -> Figures:
        slices = labelled.slices()
        label = np.array([labelled.label[rows].any() for rows in slices])
        highest = np.array([scores.causal[rows].max() for rows in slices])
        anomalous, normal = int(label.sum()), int((~label).sum())
        prior = anomalous / (anomalous + _HDFS_NORMAL_WEIGHT * normal)
        return {
            "average_precision": average_precision(label, highest, weight=weights_of_prior(label, prior)),
            "recall": recall_at(label, highest, false_positive_rate=_HDFS_FALSE_POSITIVE_RATE),
        }


class Digits:
    """Handwritten digits: half of one digit's pictures train, its other half and all other digits are judged.

    The other half is denoised, too, and held to the noise that scipy's Wiener filter leaves of the same pictures.
    """

    name, kind = "digits", "image"

    def __init__(self, suite: Path) -> None:
        self._arrays = _Arrays(suite / "digits_public.npz")
        self.files: Sequence[Path] = (self._arrays.path,)

    def items(self) -> list[str]:
        """See Part."""
        return [f"{digit:.0f}" for digit in np.unique(self._arrays["digit"])]

    def task(self, item: str) -> Task:
        """See Part."""
        pictures, is_other = self._arrays["picture"], self._arrays["digit"] != float(item)
        is_training = ~is_other & (self._arrays["is_training"] > 0)
        training, held_back = np.flatnonzero(is_training), np.flatnonzero(~is_other & ~is_training)
        rest = np.setdiff1d(np.arange(len(pictures)), training)
        filtered = _signal_to_noise(self._arrays["wiener"][held_back], pictures[held_back])

        def judge_denoised(expected: Float32) -> Figures:
            reached = _signal_to_noise(expected, pictures[held_back])
            return {"psnr": reached, "psnr_over_wiener": reached - filtered}

        return Task(
            training=_table(pictures[training]),
            scored=_table(pictures[rest], is_other[rest].astype(np.float32)),
            judge=lambda labelled, scores: {"auroc": auroc(labelled.label, scores.causal)},
            normal=lambda labelled: ~labelled.label,
            denoising=Denoising(noisy=self._arrays["noisy"][held_back], judge=judge_denoised),
        )


def _signal_to_noise(pictures: Float32, clean: Float32) -> float:
    """The mean peak signal-to-noise ratio of the pictures (n, F), in dB."""
    error = np.square(pictures.astype(np.float64) - clean).mean(axis=1)
    return float(np.mean(10 * np.log10(_DIGITS_WHITEST**2 / error)))


def _order_of_rows(labelled: LabelledRows, scores: RowScores) -> Figures:
    label, score = labelled.label, scores.causal
    return {"auroc": auroc(label, score), "average_precision": average_precision(label, score)}


def _table(rows: NDArray[np.float32], label: NDArray[np.float32] | None = None) -> pa.Table:
    """Columns x01, x02, ... and, where it is given, the label."""
    digits = len(str(rows.shape[1]))
    columns = {f"x{place:0{digits}}": rows[:, place - 1] for place in range(1, rows.shape[1] + 1)}
    return pa.table(columns if label is None else {**columns, LABEL: label.astype(np.int64)})


def _of_entity(name: str, rows: NDArray[np.float32], label: NDArray[np.float32] | None = None) -> pa.Table:
    table = _table(rows, label)
    return table.add_column(0, "entity", pa.array([name] * len(rows)))


def _events(sessions: pa.Table, end: str) -> pa.Table:
    """A row an event, sessions called by their place; `end` is written behind each session's events."""
    lines = pc.binary_join_element_wise(pc.cast(sessions["events"], pa.string()), end, "")
    events = pc.split_pattern(lines, " ").combine_chunks()
    session = pc.list_parent_indices(events)
    return pa.table(
        {
            "session": session,
            "template": pc.cast(pc.list_flatten(events), pa.int64()),
            LABEL: pc.take(sessions["label"], session),
        }
    )


def _between(first: str, end: str) -> pc.Expression:
    return (pc.field("ts") >= _seconds(first)) & (pc.field("ts") < _seconds(end))


def _seconds(day: str) -> int:
    """As the file counts them."""
    return int((np.datetime64(day) - _CARD_EPOCH) / np.timedelta64(1, "s"))
