"""What came out of the score topic, an event each, counted by server. It knows no Kafka."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from worker.batch import Bool
from worker.demo.baselines import Float64
from worker.demo.machines import Rows
from worker.recently import Contribution


class Scored(msgspec.Struct, frozen=True):
    """The fields of a score record that the demo shows."""

    id: str
    entity: str
    event_time: int
    score: float
    is_anomaly: bool
    warming: bool
    contributions: list[Contribution]


@dataclass(slots=True)
class Standing:
    """One server so far."""

    scored: int = 0
    alarms: int = 0
    latest: Scored | None = None
    latest_alarm: Scored | None = None
    by_time: dict[int, Scored] = field(default_factory=dict)


class Scoreboard:
    """Takes score records in any order, each as often as it comes, and counts each once."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._decode = msgspec.json.Decoder(Scored).decode
        self._ids: set[str] = set()
        self.standings = {server: Standing() for server in servers}
        self.repeated = 0

    @property
    def scored(self) -> int:
        """Distinct records."""
        return len(self._ids)

    @property
    def alarms(self) -> int:
        """Of all servers."""
        return sum(standing.alarms for standing in self.standings.values())

    def add(self, values: Iterable[bytes]) -> None:
        """Count score records."""
        for value in values:
            record = self._decode(value)
            if record.id in self._ids:
                self.repeated += 1
                continue
            self._ids.add(record.id)
            self._count(self.standings[record.entity], record)

    def _count(self, standing: Standing, record: Scored) -> None:
        standing.scored += 1
        standing.by_time[record.event_time] = record
        standing.latest = record
        if record.is_anomaly:
            standing.alarms += 1
            standing.latest_alarm = record

    def scores(self, server: str, rows: Rows) -> tuple[Float64, Bool]:
        """The server's scores and alarms in the order of its rows; NaN where there is none or it is warming."""
        records = [self.standings[server].by_time.get(time_ms) for time_ms in rows.time_ms.tolist()]
        score = [np.nan if record is None or record.warming else record.score for record in records]
        return np.array(score), np.array([record is not None and record.is_anomaly for record in records])
