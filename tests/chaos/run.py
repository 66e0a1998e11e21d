"""Chaos on a real broker: workers are struck at every step of their work, and what came out is held to the log.

`python -m tests.chaos.run` (`make chaos SEED=1 MINUTES=10 KILLS=60`): one run, one line of JSON, exit code 1 where
anything is wrong. The seed decides the events, the faults and their order; the clock decides the rest.
"""

import argparse
import json
import signal
import sys
import time

from tests.chaos.collector import Collector
from tests.chaos.evidence import keep
from tests.chaos.ground import Ground, ground
from tests.chaos.judge import Seen, Verdict, judge
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import BRISK, FAULTS, Pace, Plan, usual_faults
from tests.chaos.traffic import Traffic
from tests.log_record import LogRecord
from tests.revision import revision
from worker.failpoints import NAMES


def run(plan: Plan) -> dict[str, object]:
    """One run: what happened and what came of it, ready to be printed; `witnesses` is empty if all is well."""
    began_s = time.monotonic()
    with ground(plan) as stage:
        job = stage.job
        nemesis = Nemesis(plan, stage)
        traffic = Traffic(job.topics.bootstrap, job.inputs[0], a_second=plan.a_second, seed=plan.seed)
        faults: list[dict[str, object]] = []
        try:
            drain_s, seen = _struck(stage, nemesis, traffic)
            verdict = judge(
                job,
                traffic.ledger,
                Seen(
                    outputs=seen,
                    complaints=nemesis.complaints,
                    deleted=nemesis.deleted,
                ),
                data=stage.cluster.nodes[0].data,
            )
            faults = verdict.told
        except Exception as failure:
            faults = [{"kind": "not judged", "what": f"{type(failure).__name__}: {failure}"}]
            raise
        finally:
            if faults:
                keep(plan, stage, happened=nemesis.record.happened, ledger=traffic.ledger, faults=faults)
    return _told(plan, nemesis, verdict, traffic, drain_s=drain_s, took_s=time.monotonic() - began_s)


def _struck(stage: Ground, nemesis: Nemesis, traffic: Traffic) -> tuple[float, list[LogRecord]]:
    """Everything up to the verdict: how long the drain took, and what was read meanwhile."""
    job = stage.job
    places = [(topic, number) for topic in (job.scores, job.dead) for number in range(job.partitions[topic])]
    with Collector(job.topics.bootstrap, places) as collector:
        with traffic:
            nemesis.strike()
        drain_s = nemesis.heal()
        nemesis.end()
        collector.wait_for({place: job.topics.log_end(place) for place in places})
    return drain_s, collector.records


def _told(
    plan: Plan, nemesis: Nemesis, verdict: Verdict, traffic: Traffic, *, drain_s: float, took_s: float
) -> dict[str, object]:
    record, report = nemesis.record, verdict.report
    by_action = {action: record.struck_by(action) for action in ("kill", "stop", "raise", "delay")}
    return {
        "seed": plan.seed,
        "revision": revision(),
        "pace": "brisk" if plan.pace == BRISK else "usual",
        "asked": {"minutes": plan.minutes, "kills": plan.kills, "zombies": plan.zombies},
        "protocol": plan.protocol,
        "delivery": plan.delivery,
        "brokers": plan.brokers,
        "took_s": round(took_s),
        "events": traffic.sent,
        "aborted": len(traffic.ledger.aborted),
        "written_twice": verdict.written_twice,
        "scored": report.scored if report else None,
        "dead": report.dead if report else None,
        "repeated": report.repeated if report else None,
        "aimed": by_action,
        "kills": {name: record.struck.get((name, "kill"), 0) for name in NAMES},
        "ends": dict(sorted(record.ends.items())),
        "recovered": dict(record.recovered),
        "faults": nemesis.faults,
        "drain_s": round(drain_s, 1),
        **verdict.zeros,
        "witnesses": verdict.witnesses,
    }


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        seed=arguments.seed,
        minutes=arguments.minutes,
        kills=arguments.kills,
        zombies=max(2, arguments.kills // 12) if arguments.zombies is None else arguments.zombies,
        protocol=arguments.protocol,
        delivery=arguments.delivery,
        brokers=arguments.brokers,
        aims=tuple(arguments.aims.split(",")),
        faults=tuple(arguments.faults.split(",")) if arguments.faults else usual_faults(arguments.brokers),
        pace=BRISK if arguments.brisk else Pace(),
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="at most so long, drain and verdict aside")
    parser.add_argument("--kills", type=int, default=60, help="aimed kills, after which the run ends")
    parser.add_argument("--zombies", type=int, help="processes to stop and let go on; a twelfth of the kills")
    parser.add_argument("--protocol", choices=["classic", "consumer"], default="classic")
    parser.add_argument("--delivery", choices=["exactly-once", "at-least-once"], default="exactly-once")
    parser.add_argument("--brokers", type=int, choices=[1, 3], default=1, help="three hold three copies of everything")
    parser.add_argument("--aims", default=",".join(NAMES), help="the failpoints at which workers are killed")
    parser.add_argument("--faults", help=f"what befalls them besides, a comma between (all: {', '.join(FAULTS)})")
    parser.add_argument("--brisk", action="store_true", help="shorter absences and zombies, more strikes a minute")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no process is left behind then either
    told = run(_plan(arguments))
    print(json.dumps(told), flush=True)  # noqa: T201 - the command's output
    struck = told["aimed"]["kill"]
    if struck < arguments.kills:
        print(f"{struck} of {arguments.kills} aimed kills struck within --minutes", file=sys.stderr)  # noqa: T201
    return 1 if told["witnesses"] else 0


if __name__ == "__main__":
    sys.exit(main())
