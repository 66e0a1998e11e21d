"""Contributions in, the part of a score record that says why out: the features with the largest shares, as JSON."""

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

from worker.batch import Explanation, Float32
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
        rows_ago = contribution[:, ::-1].argmax(axis=1)  # (k, F); of equal rows the latest
        many = len(share)
        columns: list[Iterable[str]] = [self._top_feature.of(ranked[:, 0])]
        for rank, feature in enumerate(ranked.T):
            each = np.arange(many)
            ago = rows_ago[each, feature]
            row = values.shape[1] - 1 - ago
            columns += [repeat(",", many)] if rank else []
            columns += [self._feature.of(feature), float32s(share[each, feature])]
            columns += [repeat(',"value":', many), float32s(values[explanation.row, row, feature])]
            columns += [repeat(',"expected":', many), float32s(explanation.expected[each, row, feature])]
            columns += [repeat(',"rows_ago":', many), numbers(ago), repeat("}", many)]
        return list(map("".join, zip(*columns, repeat("]", many), strict=True)))


def _without_faults(contribution: Float32) -> Float32:
    """A share that is no number would make the whole record unreadable."""
    return contribution if np.isfinite(contribution).all() else np.nan_to_num(contribution, posinf=0.0, neginf=0.0)
