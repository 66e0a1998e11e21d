"""Rows of many entities in; out come rows of one size, and what each entity's own size was.

One detector sees machines of all sizes alike, once each is taken at its own level and in its own scale: what is large
for a small machine is no longer hidden among the large ones. The statistics are learnt in training and frozen in the
file. An entity that has none is seen by those of all entities together, and since that is another sight, the detector
learns it beside the other, and has a curve of p-values for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from export.reconstruction import CLIP, mean_and_scale, normalisation
from export.split import CALIBRATION, TRAINING, VALIDATION
from export.windows import Parts, Windows, statistic_rows

WORTH = 1.0
"""From so much saved on (see `Levels.saving`) each entity is taken by itself: values are e times as likely then."""

_FEWEST_WINDOWS = 3  # of training rows
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
    saving: float
    """By how much held-back values are nearer to what is told of their entity than to what is told of all: nats a value
    by a Laplace distribution, of the median entity. Both are of the values as they are, so they can be compared."""

    def seen(self, windows: Windows, entity: NDArray[np.int32]) -> Windows:
        """The same windows with their entities, as the graph takes them; `entity` (n,) of the rows as in the data."""
        return replace(windows, entity=self.place[entity])

    def levelled(self, parts: Parts) -> tuple[Parts, Windows]:
        """The parts as the detector behind the levels sees them; and calibration windows as of unknown entities."""
        place = self.place[parts.entity]
        rows = len(place)
        both = np.concatenate(
            (self._of(parts.training.rows, place), self._of(parts.training.rows, np.zeros_like(place)))
        )

        def own(windows: Windows) -> Windows:
            return replace(windows, rows=both)

        def strange(windows: Windows) -> Windows:
            return replace(windows, rows=both, last=windows.last + rows)

        is_known = place[parts.calibration.last] > 0
        return replace(
            parts,
            training=_joined(
                own(parts.training), strange(parts.training.spread(len(parts.training) // _STRANGE_SHARE))
            ),
            validation=own(parts.validation),
            calibration=own(parts.calibration.at(np.flatnonzero(is_known))),
            training_rows=both[statistic_rows(parts.part)],
        ), strange(parts.calibration)

    def _of(self, rows: Float32, place: NDArray[np.int64]) -> Float32:
        return (rows - self.level[place]) / self.scale[place]


def fit_levels(parts: Parts, names: Sequence[str], features: Sequence[str], *, window: int) -> Levels | None:
    """What the training rows say of each entity; None where none has rows enough for a level of its own.

    Args:
        parts: Windows of several rows.
        names: (entities,) of the data, in the order of `parts.entity`.
        features: (F,) their names.
        window: W.

    Raises:
        DataError: a feature has no value at all.
    """
    rows, entity, part = parts.training.rows, parts.entity, parts.part
    begin, end = (np.searchsorted(entity, np.arange(len(names)), side) for side in ("left", "right"))
    having = _long_enough(entity, part, len(names), window)
    if not len(having):
        return None
    pooled = normalisation(parts.training_rows, features, window=window)
    levels, scales, savings = [pooled[0]], [pooled[1]], []
    for one in having:
        of_one = slice(begin[one], end[one])
        own = _own(rows[of_one][part[of_one] == TRAINING], pooled, window=window)
        held_back = rows[of_one][part[of_one] == VALIDATION]
        levels.append(own[0])
        scales.append(own[1])
        savings.append(_cost(held_back, *pooled) - _cost(held_back, *own))
    place = np.zeros(len(names), dtype=np.int64)
    place[having] = np.arange(1, len(having) + 1)
    return Levels(
        names=tuple(names[one] for one in having),
        level=np.stack(levels),
        scale=np.stack(scales),
        place=place,
        saving=float(np.nanmedian(savings)),
    )


def one_level(names: Sequence[str], having: Sequence[int], features: int) -> Levels:
    """Of entities that are known for another reason: all are seen as they are.

    Args:
        names: (entities,) of the data.
        having: Places in them, rising.
        features: F.
    """
    shape = (len(having) + 1, features)
    place = np.zeros(len(names), dtype=np.int64)
    place[having] = np.arange(1, len(having) + 1)
    return Levels(
        names=tuple(names[one] for one in having),
        level=np.zeros(shape, np.float32),
        scale=np.ones(shape, np.float32),
        place=place,
        saving=0.0,
    )


def require_levels(levels: Levels | None, *, window: int) -> Levels:
    """Raises DataError where there are none."""
    if levels is None:
        raise DataError(
            f"--levels own: no entity has {_FEWEST_WINDOWS * window} training rows, {_FEWEST_WINDOWS} windows; "
            "give more data, a smaller --window, or --levels pooled."
        )
    return levels


def _long_enough(entity: NDArray[np.int32], part: NDArray[np.int8], entities: int, window: int) -> NDArray[np.int64]:
    """(E,) the entities that are part of everything, in the data's order."""
    rows = {one: np.bincount(entity[part == one], minlength=entities) for one in (TRAINING, VALIDATION, CALIBRATION)}
    enough = (rows[TRAINING] >= _FEWEST_WINDOWS * window) & (rows[VALIDATION] > 0) & (rows[CALIBRATION] > 0)
    longest = np.argsort(-rows[TRAINING], kind="stable")
    return np.sort(longest[enough[longest]][:_MOST_ENTITIES])


def _own(rows: Float32, pooled: tuple[Float32, Float32], *, window: int) -> tuple[Float32, Float32]:
    """Level and scale (F,) of one entity's rows; of a feature that it never had those of all."""
    has_value = ~np.isnan(rows).all(axis=0)
    own = mean_and_scale(np.where(has_value, rows, np.float32(0)), window=window)
    return np.where(has_value, own[0], pooled[0]), np.where(has_value, own[1], pooled[1])


def _cost(rows: Float32, level: Float32, scale: Float32) -> float:
    """-log of a Laplace density, but for a constant: the mean over the values."""
    distance = np.minimum(np.abs(rows - level) / scale, CLIP)
    return float(np.nanmean(distance + np.log(scale)))


def _joined(first: Windows, second: Windows) -> Windows:
    """Of windows over the same rows."""
    return replace(
        first, last=np.concatenate((first.last, second.last)), length=np.concatenate((first.length, second.length))
    )
