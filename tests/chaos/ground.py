"""What a chaos run stands on: brokers of its own behind proxies, where workers sign in; and a job with its rights."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.artifacts import make_artifact
from tests.broker import TO_BE_KILLED, Cluster
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import ANY_TIME
from tests.end_to_end.job import QUICK_CLASSIC, Job
from tests.rights import USER, grant
from tests.topics import Topics

PARTITIONS = 6
LOOKBACK = 2_000
NAN_ABOVE = 1e5
BROKER = {"group.consumer.session.timeout.ms": "3000", **TO_BE_KILLED}
USERS = {USER: "secret"}


@dataclass(frozen=True)
class Ground:
    """The job, its brokers, and the proxies through which its workers reach them."""

    job: Job
    cluster: Cluster
    proxies: Sequence[Proxy]


@contextlib.contextmanager
def ground(plan: Plan) -> Iterator[Ground]:
    """Everything is there when the block is entered, and no process of it is left behind."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxies = [stack.enter_context(Proxy()) for _ in range(plan.brokers)]
        ports = [proxy.port for proxy in proxies]
        cluster = Cluster(plan.brokers, users=USERS, advertised_ports=ports, properties=BROKER)
        stack.enter_context(cluster)
        for proxy, node in zip(proxies, cluster.nodes, strict=True):
            proxy.upstream_port = node.behind_proxy_port
        job = _job(plan, cluster, ports, folder)
        stack.callback(job.end)
        grant(job)
        yield Ground(job, cluster, proxies)


def _job(plan: Plan, cluster: Cluster, ports: Sequence[int], folder: Path) -> Job:
    consumer = QUICK_CLASSIC if plan.protocol == "classic" else {"group.protocol": "consumer"}
    topics = Topics(cluster.bootstrap)
    job = Job(topics, folder, partitions=(PARTITIONS,), out=PARTITIONS, consumer=consumer, topic_config=ANY_TIME)
    make_artifact(job.model, features=("x", "y"), window=6, min_length=3, nan_above=NAN_ABOVE)
    signed_in = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": USERS[USER],
    }
    bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
    job.set(
        {
            "kafka": {"bootstrap_servers": bootstrap, "properties": signed_in, "start_timeout_s": 120},
            "delivery": plan.delivery,
            "lookback_offsets": LOOKBACK,
        }
    )
    return job
