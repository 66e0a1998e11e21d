"""What became of each item and seed of a benchmark, and the file that keeps it. Knows neither data nor detectors."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from export.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One item, trained with one seed."""

    part: str
    item: str
    seed: int
    options: Mapping[str, object]  # of `train`, beside the columns
    figures: Mapping[str, float] = field(default_factory=dict)
    refusal: str | None = None  # why there are no figures
    family: str | None = None
    seconds: float = 0.0  # training, scoring and judging
    code: str = ""

    @property
    def key(self) -> str:
        """What makes two results the same work: all but the code and what came of it."""
        return json.dumps([self.part, self.item, self.seed, dict(self.options)], sort_keys=True)

    def done(self, figures: Mapping[str, float], *, family: str, seconds: float, code: str) -> "Result":
        """With what came of it."""
        return dataclasses.replace(self, figures=figures, family=family, seconds=seconds, code=code)

    def refused(self, sentence: str, *, code: str) -> "Result":
        """With the reason that there are no figures."""
        return dataclasses.replace(self, refusal=sentence, code=code)


_RESULTS = TypeAdapter(list[Result])


def read_results(path: Path) -> list[Result]:
    """Those that an earlier run kept; a refusal is no result, it is tried again. Raises DataError for another file."""
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        results = _RESULTS.validate_python(document["results"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise DataError(f"--output {path} holds something else: give another name, or remove it.") from error
    return [result for result in results if result.refusal is None]


def as_json(results: Iterable[Result], summary: Sequence[Mapping[str, object]] = ()) -> bytes:
    """The file's content."""
    document = {"summary": list(summary), "results": [dataclasses.asdict(result) for result in results]}
    return json.dumps(document, indent=1).encode() + b"\n"
