"""Rows of many entities in; out come rows of one size, and what each entity's own size was.

One detector sees machines of all sizes alike, once each is taken at its own level and in its own scale: what is large
for a small machine is no longer hidden among the large ones. The statistics are learnt in training and frozen in the
file. An entity that has none is seen by those of all entities together, and since that is another sight, the detector
learns it beside the other, and has a curve of p-values for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from export.reconstruction import CLIP, feature_sizes, mean_and_scale, normalisation
from export.split import TRAINING, VALIDATION
from export.windows import Parts, Windows, statistic_rows

_WORTH = 1.0  # from so much saved on each entity is taken by itself: values are e times as likely then
_WORTH_SHARE = 0.5  # of the training windows, which must be of entities that have a level of their own
_FEWEST_WINDOWS = 3  # of training rows
_NO_RANGE = 1e-30  # what has no larger one stood still
_MOST_ENTITIES = 10_000  # their names are in the file; the longest histories first
_STRANGE_SHARE = 8  # of the training windows one in so many is also seen as that of an unknown entity

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The level and scale of each entity that has its own, and first those of all together."""

    names: tuple[str, ...]  # (E,)
    level: Float32  # (E + 1, F)
    scale: Float32  # (E + 1, F)
    place: NDArray[np.int64]  # (entities of the data,) in the two above
    saving: float = 0.0
    """By how much held-back values are nearer to what is told of their entity than to what is told of all: nats a value
    by a Laplace distribution, of the median entity. Both are of the values as they are, so they can be compared."""
    share: float = 0.0
    """Of the training windows, those of entities that have a level of their own."""

    @property
    def pay(self) -> bool:
        """Whether entities are better taken each by itself."""
        return self.saving >= _WORTH and self.share >= _WORTH_SHARE

    def seen(self, windows: Windows, entity: NDArray[np.int32]) -> Windows:
        """The same windows with their entities, as the graph takes them; `entity` (n,) of the rows as in the data."""
        return replace(windows, entity=self.place[entity])

    def levelled(self, parts: Parts) -> "Levelled":
        """What the detector behind the levels is shown."""
        place = self.place[parts.entity]
        rows = parts.training.rows
        both = np.concatenate((self._of(rows, place), self._of(rows, np.zeros_like(place))))

        def own(windows: Windows) -> Windows:
            return replace(windows, rows=both)

        def strange(windows: Windows) -> Windows:
            return replace(windows, rows=both, last=windows.last + len(rows))

        some = parts.training.spread(len(parts.training) // _STRANGE_SHARE)
        is_known = place[parts.calibration.last] > 0
        levelled = replace(
            parts,
            training=_joined(own(parts.training), strange(some)),
            validation=own(parts.validation),
            calibration=own(parts.calibration.at(np.flatnonzero(is_known))),
            training_rows=both[statistic_rows(parts.part)],
        )
        return Levelled(parts=levelled, strangers=strange(parts.calibration))

    def _of(self, rows: Float32, place: NDArray[np.int64]) -> Float32:
        return (rows - self.level[place]) / self.scale[place]


class Levelled(NamedTuple):
    """The parts with each entity at its own level, those that calibrate of known ones alone."""

    parts: Parts
    strangers: Windows  # all that calibrate, as if nobody knew their entities


def fit_levels(
    parts: Parts, names: Sequence[str], features: Sequence[str], *, window: int, fewest: int
) -> Levels | None:
    """What the training rows say of each entity; None where too few have what it takes.

    Args:
        parts: Windows of several rows.
        names: (entities,) of the data, in the order of `parts.entity`.
        features: (F,) their names.
        window: W.
        fewest: Calibration windows that known entities must have together.

    Raises:
        DataError: a feature has no value at all.
    """
    rows, entity, part = parts.training.rows, parts.entity, parts.part
    pooled = normalisation(parts.training_rows, features, window=window)
    having = _long_enough(parts, len(names), window)
    if np.isin(entity[parts.calibration.last], having).sum() < fewest:
        return None
    begin, end = (np.searchsorted(entity, having, side) for side in ("left", "right"))
    units = _units(parts.training_rows)
    of_each = [slice(*ends) for ends in zip(begin, end, strict=True)]
    own = [_own(rows[of_one][part[of_one] == TRAINING], units, window=window) for of_one in of_each]
    level = np.stack([pooled[0], *(level for level, _ in own)])
    scale = np.stack([pooled[1], *(scale for _, scale in own)])
    level = np.where(np.isnan(level), pooled[0], level)
    scale = np.where(np.isnan(scale), _usual_scale(scale[1:], pooled[1]), scale)
    savings = [
        _cost(held_back, *pooled) - _cost(held_back, level[place], scale[place])
        for place, held_back in enumerate((rows[of_one][part[of_one] == VALIDATION] for of_one in of_each), start=1)
        if not np.isnan(held_back).all()
    ]
    place = _places(having, len(names))
    return Levels(
        names=tuple(names[one] for one in having),
        level=level,
        scale=scale,
        place=place,
        saving=float(np.median(savings)) if savings else 0.0,
        share=float((place[entity[parts.training.last]] > 0).mean()),
    )


def one_level(names: Sequence[str], having: Sequence[int], features: int) -> Levels:
    """Of entities that are known for another reason: all are seen as they are.

    Args:
        names: (entities,) of the data.
        having: Places in them, rising.
        features: F.
    """
    shape = (len(having) + 1, features)
    return Levels(
        names=tuple(names[one] for one in having),
        level=np.zeros(shape, np.float32),
        scale=np.ones(shape, np.float32),
        place=_places(having, len(names)),
    )


def require_levels(levels: Levels | None, *, window: int, fewest: int) -> Levels:
    """Raises DataError where there are none."""
    if levels is None:
        raise DataError(
            f"--levels own: too few entities have {_FEWEST_WINDOWS * window} training rows and windows held back "
            f"beside them, {fewest} together to calibrate on (one that is short is of one part as a whole): give more "
            "data, a smaller --window, or --levels pooled."
        )
    return levels


def _long_enough(parts: Parts, entities: int, window: int) -> NDArray[np.int64]:
    """(E,) the entities that are part of everything, in the data's order."""
    has_value = ~np.isnan(parts.training.rows).all(axis=1)
    rows = np.bincount(parts.entity[has_value & (parts.part == TRAINING)], minlength=entities)
    held_back = [
        np.bincount(parts.entity[windows.last], minlength=entities) for windows in (parts.validation, parts.calibration)
    ]
    enough = (rows >= _FEWEST_WINDOWS * window) & (held_back[0] > 0) & (held_back[1] > 0)
    longest = np.argsort(-rows, kind="stable")
    return np.sort(longest[enough[longest]][:_MOST_ENTITIES])


def _places(having: Sequence[int] | NDArray[np.int64], entities: int) -> NDArray[np.int64]:
    """(entities,) the contract's: those that are known from 1 on, 0 for all others."""
    place = np.zeros(entities, dtype=np.int64)
    place[having] = np.arange(1, len(having) + 1)
    return place


def _units(rows: Float32) -> NDArray[np.float64]:
    """(F,) how large a feature counts for each unit of its largest value: who is small in all is small in each."""
    largest: NDArray[np.float64] = np.nanmax(np.abs(rows), axis=0).astype(np.float64)
    units: NDArray[np.float64] = feature_sizes(rows) / np.maximum(largest, _NO_RANGE)
    return units


def _own(rows: Float32, units: NDArray[np.float64], *, window: int) -> tuple[Float32, Float32]:
    """Level and scale (F,) of one entity's rows; NaN where it never had a value, or never another one."""
    has_value = ~np.isnan(rows).all(axis=0)
    known = np.where(has_value, rows, np.float32(0))
    moves = np.nanmax(known, axis=0) - np.nanmin(known, axis=0) > _NO_RANGE
    sizes = np.where(moves, np.nanmax(np.abs(known), axis=0) * units, 1.0)
    level, scale = mean_and_scale(known, window=window, sizes=sizes)
    return np.where(has_value, level, np.float32(np.nan)), np.where(moves, scale, np.float32(np.nan))


def _usual_scale(scale: Float32, pooled: Float32) -> Float32:
    """(F,) of a feature in the median of the entities (E, F) in which it moves; where it moves in none, that of all."""
    moves = ~np.isnan(scale).all(axis=0)
    usual = np.nanmedian(np.where(moves, scale, pooled), axis=0)
    return np.asarray(usual, np.float32)


def _cost(rows: Float32, level: Float32, scale: Float32) -> float:
    """-log of a Laplace density, but for a constant: the mean over the values."""
    distance = np.minimum(np.abs(rows - level) / scale, CLIP)
    return float(np.nanmean(distance + np.log(scale)))


def _joined(first: Windows, second: Windows) -> Windows:
    """Of windows over the same rows."""
    return replace(
        first, last=np.concatenate((first.last, second.last)), length=np.concatenate((first.length, second.length))
    )
