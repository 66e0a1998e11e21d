"""Contributions in, the part of a score record that says why out: the features with the largest shares, as JSON."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from worker.batch import Explanation, Float32, Int64
from worker.fragments import Fragments, float32s, json_text, numbers

UNEXPLAINED = '"top_feature":null,"contributions":[]'


class ExplanationText:
    """Renders explanations over these features, `top` of them at most."""

    def __init__(self, features: Sequence[str], *, top: int) -> None:
        self._top = min(top, len(features))
        quoted = list(map(json_text, features))
        self._top_feature = Fragments(lambda place: f'"top_feature":{quoted[place]},"contributions":[')
        self._feature = Fragments(lambda place: f'{{"feature":{quoted[place]},"share":')

    def of(self, explanation: Explanation, values: Float32) -> list[str]:
        """One text for each explained row; `values` (m, W, F) are the windows of all rows."""
        if not self._top:
            return [UNEXPLAINED] * len(explanation.row)
        contribution = _without_faults(explanation.contribution)
        share = contribution.sum(axis=1, dtype=np.float64).astype(np.float32)  # (k, F)
        ranked = np.argsort(-share, axis=1, kind="stable")[:, : self._top]  # (k, top)
        each = np.arange(len(share))[:, np.newaxis]
        rows_ago = contribution[:, ::-1].argmax(axis=1)[each, ranked]  # (k, top); of equal rows the latest
        row = values.shape[1] - 1 - rows_ago
        figures = (
            share[each, ranked],
            values[explanation.row[:, np.newaxis], row, ranked],
            explanation.expected[each, row, ranked],
        )
        return self._texts(ranked, figures, rows_ago)

    def _texts(self, ranked: Int64, figures: Sequence[Float32], rows_ago: Int64) -> list[str]:
        """All columns (k, top). Few rows are explained, so what counts is the number of calls: one for all of them."""
        many = len(ranked)
        by_rank = [column.T.ravel() for column in figures]
        shares, values, expected = _parts(float32s(np.concatenate(by_rank)), len(figures))
        features, ago = self._feature.of(ranked.T.ravel()), numbers(rows_ago.T.ravel())
        told = zip(
            features,
            shares,
            repeat(',"value":'),
            values,
            repeat(',"expected":'),
            expected,
            repeat(',"rows_ago":'),
            ago,
            repeat("}"),
        )
        ranks = _parts(list(map("".join, told)), ranked.shape[1])
        contributions = map(",".join, zip(*ranks, strict=True))
        return list(
            map("".join, zip(self._top_feature.of(ranked[:, 0]), contributions, repeat("]", many), strict=True))
        )


def _parts(column: list[str], count: int) -> list[list[str]]:
    """So many columns of one length, out of one that holds them one after the other."""
    length = len(column) // count
    return [column[start : start + length] for start in range(0, len(column), length)]


def _without_faults(contribution: Float32) -> Float32:
    """A share that is no number would make the whole record unreadable."""
    return contribution if np.isfinite(contribution).all() else np.nan_to_num(contribution, posinf=0.0, neginf=0.0)
