"""Results and others' figures in, tables as Markdown and as JSON out. Trains nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.benchmark_results import Result
from export.published import Table, mean_over, plain, published

_HEADINGS: Mapping[str, str] = {
    "vus_pr_causal": "VUS-PR causal",
    "vus_pr_revised": "VUS-PR revised",
    "auroc": "AUROC",
    "auroc_scenario_1": "AUROC scenario 1",
    "auroc_scenario_3": "AUROC scenario 3",
    "average_precision": "AP",
    "recall": "recall",
    "psnr": "PSNR of noisy pictures' `expected` in dB",
    "psnr_over_wiener": "the same over a Wiener filter's",
    "false_alarms_at_1_percent": "false alarms where 1 % is promised",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another detector's mean over the same items."""

    name: str
    figure: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure of one part: the mean over its items, for each seed."""

    part: str
    metric: str
    items: tuple[str, ...]
    by_seed: Mapping[int, float]
    published: tuple[Other, ...]  # the best first
    plain: tuple[Other, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(list(self.by_seed.values())))


def lines_of(results: Sequence[Result], suite: Path) -> list[Line]:
    """Every figure of every part, over the items that were done with every seed."""
    parts = dict.fromkeys(result.part for result in results)
    return [line for part in parts for line in _lines_of_part(part, results, suite) if line.items]


def _lines_of_part(part: str, results: Sequence[Result], suite: Path) -> Iterator[Line]:
    done = [result for result in results if result.part == part and result.refusal is None]
    seeds = sorted({result.seed for result in done})
    items = [item for item in _items(done) if sum(result.item == item for result in done) == len(seeds)]
    for metric in dict.fromkeys(metric for result in done for metric in result.figures):
        yield Line(
            part=part,
            metric=metric,
            items=tuple(items),
            by_seed={seed: _mean(done, items, seed, metric) for seed in seeds},
            published=_others(published(suite, part, metric), items),
            plain=_others(plain(suite, part, metric), items),
        )


def markdown(results: Sequence[Result], lines: Sequence[Line], *, command: str) -> str:
    """The whole report."""
    seeds = sorted({result.seed for result in results})
    minutes = sum(result.seconds for result in results) / 60
    sections = [
        "# Benchmark",
        f"`{command}`: seeds {', '.join(map(str, seeds))}, {minutes:.0f} minutes of training, scoring and judging.",
        *_code_note(results),
        _summary(lines),
        *_refusals(results),
        *(_by_item(results, part, lines) for part in dict.fromkeys(line.part for line in lines)),
    ]
    return "\n\n".join(sections) + "\n"


def summary_as_json(lines: Sequence[Line]) -> list[dict[str, object]]:
    """The summary by name."""
    return [
        {
            "part": line.part,
            "metric": line.metric,
            "items": len(line.items),
            "mean": line.mean,
            "by_seed": {str(seed): figure for seed, figure in line.by_seed.items()},
            "published": {other.name: other.figure for other in line.published},
            "plain": {other.name: other.figure for other in line.plain},
        }
        for line in lines
    ]


def figures_in_words(result: Result) -> str:
    """One result in a line."""
    place = f"{result.part} {result.item}, seed {result.seed}"
    if result.refusal is not None:
        return f"{place}: none; {result.refusal}"
    figures = ", ".join(f"{_HEADINGS.get(name, name)} {value:.3f}" for name, value in result.figures.items())
    return f"{place}: {figures} ({result.family}, {result.seconds:.0f} s)"


def _items(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.item for result in results))


def _mean(results: Sequence[Result], items: Sequence[str], seed: int, metric: str) -> float:
    figures = [of.figures[metric] for of in results if of.seed == seed and of.item in items and metric in of.figures]
    return float(np.mean(figures)) if figures else float("nan")


def _others(table: Table, items: Sequence[str]) -> tuple[Other, ...]:
    means = {name: mean_over(of, items) for name, of in table.items()}
    known = [Other(name=name, figure=figure) for name, figure in means.items() if figure is not None]
    return tuple(sorted(known, key=lambda other: -other.figure))


def _code_note(results: Sequence[Result]) -> Iterator[str]:
    codes = {result.code for result in results}
    if len(codes) > 1:
        yield f"These results are of {len(codes)} states of the code; `--anew` makes them all of this one."


def _summary(lines: Sequence[Line]) -> str:
    rows = [
        [
            line.part,
            str(len(line.items)),
            _HEADINGS.get(line.metric, line.metric),
            f"**{line.mean:.3f}**",
            _range(line),
            _best(line.published, line.mean),
            _best(line.plain, line.mean),
        ]
        for line in lines
    ]
    headings = ["part", "items", "figure", "mean", "lowest and highest seed", "published", "plain baselines"]
    return _table(headings, rows)


def _range(line: Line) -> str:
    figures = list(line.by_seed.values())
    return f"{min(figures):.3f} {max(figures):.3f}" if len(figures) > 1 else "one seed"


def _best(others: Sequence[Other], figure: float) -> str:
    if not others:
        return ""
    better = sum(other.figure >= figure for other in others)
    best = others[0]
    return f"{better} of {len(others)} at least as good; best: {best.name} {best.figure:.3f}"


def _refusals(results: Sequence[Result]) -> Iterator[str]:
    refused = dict.fromkeys(
        f"- {result.part}, {result.item}: {result.refusal}" for result in results if result.refusal is not None
    )
    if refused:
        yield "Without figures:\n\n" + "\n".join(refused)


def _by_item(results: Sequence[Result], part: str, lines: Sequence[Line]) -> str:
    metrics = [line.metric for line in lines if line.part == part]
    done = [result for result in results if result.part == part and result.refusal is None]
    rows = []
    for item in _items(done):
        of_item = [result for result in done if result.item == item]
        means = [float(np.mean([of.figures[metric] for of in of_item if metric in of.figures])) for metric in metrics]
        seconds = float(np.mean([of.seconds for of in of_item]))
        rows.append([item, *(f"{mean:.3f}" for mean in means), f"{seconds:.0f}"])
    headings = [part, *(_HEADINGS.get(metric, metric) for metric in metrics), "seconds a seed"]
    return f"## {part}\n\n{_table(headings, rows)}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
