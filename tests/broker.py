"""Real Apache Kafka brokers for tests, from Maven: `python -m tests.broker install`, `python -m tests.broker run`.

A broker listens on free loopback ports, keeps its data inside the checkout, and is stopped by its own process id.
It knows nothing of the worker.
"""

import argparse
import base64
import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.certificates import Authority

VERSION = "4.3.1"
OLD_VERSION = "3.9.1"  # of the last line with that number: what many still run
VERSIONS = (VERSION, OLD_VERSION)

CHECKOUT = Path(__file__).resolve().parent.parent
POMS = Path(__file__).resolve().parent / "kafka"
DATA = CHECKOUT / ".cache" / "brokers"

_reservations: list[IO[bytes]] = []
"""Held until the process ends."""

_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_JVM_FLAGS = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_START_TIMEOUT_S = 180.0  # 3 s alone; a busy machine needs patience
_ANSWER_TIMEOUT_S = 3.0  # likewise: with half a second, a busy broker's answers would all be too late
_STOP_TIMEOUT_S = 20.0

_FAST_FOR_TESTS = {
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # how long a killed broker is waited for before it may come back
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.ms": "-1",  # tests write times of long ago: retention would delete them
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
}


TO_BE_KILLED: Mapping[str, str] = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000"}
"""What a broker needs that is to be killed, and is its partitions' only replica.

It leads none of them for some seconds after a restart (2.6 s alone). Were it to time out a transaction then, it would
end it without writing its markers (seen on Apache Kafka 4.3.1: "these partitions are likely deleted already and hence
can be skipped"), and a later transaction of the same id would commit what was to be aborted. Kafka's default looks for
such transactions after that time; what our other tests use would find them in the middle of it.
"""


_REPLICATED = {
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "replica.lag.time.max.ms": "5000",  # so soon is a write acknowledged without a copy that lies dead
    "share.coordinator.state.topic.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "transaction.state.log.replication.factor": "3",
}
"""Of a cluster of three."""


class BrokerError(Exception):
    """No broker: the sentence says what is missing or what went wrong, and what to do."""


def install(version: str = VERSION) -> Path:
    """The folder with the jars of that Kafka, fetched by Maven where it is not there yet. Raises BrokerError."""
    pom = POMS / f"{version}.xml"
    if not pom.exists():
        raise BrokerError(f"There is no {pom.name} in {POMS}: add one to test on Kafka {version}.")
    return install_jars(pom, f"kafka-{version}")


def install_jars(pom: Path, name: str) -> Path:
    """The folder with the jars that `pom` names, fetched where it is not there yet. Raises BrokerError.

    Safe beside another installation (a lock) and after one that was cut short (the folder appears by one rename).
    """
    cache = cache_folder()
    home = cache / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "kafka.lock"):
            if not home.exists():
                _fetch(pom, home)
    return home / "lib"


def cache_folder() -> Path:
    """Where what was fetched once is kept, outside of the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anomaly-worker"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else is in such a block of the same file."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(pom: Path, home: Path) -> None:
    java()
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError("Maven is missing: install it (Debian: apt-get install maven; macOS: brew install maven).")
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="kafka-partial-") as partial:
        lib = Path(partial) / home.name / "lib"
        command = [maven, "-B", "-q", "-f", pom, f"-Dmaven.repo.local={home.parent / 'maven'}"]
        command += [_COPY_DEPENDENCIES, f"-DoutputDirectory={lib}"]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise BrokerError(f"Maven could not fetch {pom.name}; its last words:\n{done.stdout[-2000:]}")
        lib.parent.rename(home)


def java() -> str:
    """The Java runtime, 17 or later. Raises BrokerError with the remedy."""
    remedy = (
        "install Java 17 or later (Debian: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17)"
    )
    home = os.environ.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin") if home else None
    path = path or shutil.which("java")
    if path is None:
        raise BrokerError(f"Java is missing: {remedy}.")
    said = subprocess.run([path, "-version"], check=False, capture_output=True, text=True).stderr
    major = re.search(r'version "(\d+)', said)
    if major is None or int(major[1]) < 17:
        raise BrokerError(f"{path} is not Java 17 or later: {remedy}, or set JAVA_HOME.")
    return path


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now, and that no other run of tests takes before this process ends.

    Reserved by a lock on a file: a port is bound some time after it is chosen, and again by a broker that comes back.
    Below the range from which the system gives ports to clients, or one of those could take it before we do.
    """
    reserved = cache_folder() / "ports"
    reserved.mkdir(parents=True, exist_ok=True)
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        reservation = (reserved / str(port)).open("wb")
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _reservations.append(reservation)
            return port
        reservation.close()
    raise BrokerError("None of 100 loopback ports is free.")


class Broker:
    """One Kafka node, broker and controller in one process.

    `properties` override those of server.properties. `users` (name -> password) adds a second listener with SASL PLAIN
    and ACLs, where a user may do what it was granted; the first listener may do everything. It listens on `host` alone,
    and announces it.
    `authority` adds three more for `users`, with TLS and the same ACLs: one where they sign in by SCRAM, one where a
    certificate of that authority names them, one where an unsecured JSON Web Token does, for as long as it lives.
    `advertised_port` adds one for a proxy in front: it announces that port instead of its own. There `users`
    sign in too, if there are any.
    """

    def __init__(
        self,
        version: str = VERSION,
        *,
        properties: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        authority: Authority | None = None,
        advertised_port: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.version = version
        self._host = host
        self._overrides = dict(properties or {})
        self._users = dict(users or {})
        self._authority = authority
        self._advertised_port = advertised_port
        self._port, self.controller_port, self._sasl_port, self.behind_proxy_port = (free_port() for _ in range(4))
        self._scram_port, self._tls_port, self._oauth_port = (free_port() for _ in range(3))
        self._node_id, self._controller_ports = 1, [self.controller_port]
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect without a password; they may do everything."""
        return f"{self._host}:{self._port}"

    @property
    def sasl_bootstrap(self) -> str:
        """Where one of `users` connects."""
        return f"{self._host}:{self._sasl_port}"

    @property
    def scram_bootstrap(self) -> str:
        """Where one of `users` connects by TLS, and signs in by SCRAM-SHA-512."""
        return f"{self._host}:{self._scram_port}"

    @property
    def tls_bootstrap(self) -> str:
        """Where one of `users` connects by TLS, and shows a certificate."""
        return f"{self._host}:{self._tls_port}"

    @property
    def oauth_bootstrap(self) -> str:
        """Where one of `users` connects by TLS, and shows a token."""
        return f"{self._host}:{self._oauth_port}"

    @property
    def log(self) -> Path:
        """What the broker printed; it goes with the data unless something failed (see `keep_log`)."""
        if self._folder is None:
            raise BrokerError("The broker was not started.")
        return self._folder / "broker.log"

    @property
    def data(self) -> Path:
        """Where its topics lie, a folder for each partition."""
        return self.log.parent / "data"

    def __enter__(self) -> Self:
        with self._cleared_where_it_fails():
            self.format("--standalone", "-t", _kafka_uuid(), *self._scram_users())
            self.start()
        return self

    @contextlib.contextmanager
    def _cleared_where_it_fails(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.kill()
            if self._folder is not None:
                shutil.rmtree(self._folder)
            raise
        except BaseException:  # its folder stays, with the log that tells why
            self.kill()
            raise

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if error not in {None, KeyboardInterrupt}:  # Ctrl-C is how people end it
            self.keep_log()
        shutil.rmtree(self.log.parent)

    def keep_log(self) -> Path:
        """Save what the broker printed so far beyond its end, for whoever looks into a failure."""
        kept = DATA / f"{self.log.parent.name}.log"
        return Path(shutil.copy(self.log, kept))

    def _scram_users(self) -> list[str]:
        if self._authority is None:
            return []
        told = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._users.items()]
        return [word for user in told for word in ("--add-scram", user)]

    def join(self, node_id: int, controller_ports: Sequence[int]) -> None:
        """Be one of several nodes, before it is formatted."""
        self._node_id, self._controller_ports = node_id, list(controller_ports)

    def format(self, *how: str) -> None:
        """Make a folder for its data, with the options of Kafka's storage tool. Raises BrokerError."""
        lib = install(self.version)
        DATA.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=DATA, prefix=f"kafka-{self.version}-"))
        server_properties = self._folder / "server.properties"
        server_properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        self._run_to_end(lib, "kafka.tools.StorageTool", "format", *how, "-c", str(server_properties))

    def start(self) -> None:
        """Start (again, on the same ports and data) and wait until it answers. Raises BrokerError."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start its process. Where one of it is running, that is another's mistake: raises BrokerError."""
        if self._process is not None and self._process.poll() is None:
            raise BrokerError("The broker was started already: stop or kill it first.")
        lib = install(self.version)
        with self.log.open("ab") as log:
            command = [
                *_dying_with_us(),
                *self._command(lib, "kafka.Kafka", str(self.log.parent / "server.properties")),
            ]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, process_group=0)

    def stop(self) -> None:
        """Let it end by itself, else end it."""
        process = self._process
        if process is None:
            return
        self.resume()
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _properties(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self._port, "CONTROLLER": self.controller_port}
        security = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        advertised = {"PLAINTEXT": self._port}
        more: dict[str, str] = {}
        if self._users:
            listeners["SASL"] = advertised["SASL"] = self._sasl_port
            security["SASL"] = "SASL_PLAINTEXT"
            more |= _access_control(self._users)
        if self._authority is not None:
            encrypted = {"SCRAM": self._scram_port, "TLS": self._tls_port, "OAUTH": self._oauth_port}
            listeners |= encrypted
            advertised |= encrypted
            security |= {"SCRAM": "SASL_SSL", "TLS": "SSL", "OAUTH": "SASL_SSL"}
            more |= _encryption(self._authority)
        if self._advertised_port is not None:
            listeners["PROXY"] = self.behind_proxy_port
            advertised["PROXY"] = self._advertised_port
            security["PROXY"] = "SASL_PLAINTEXT" if self._users else "PLAINTEXT"
        return {
            "process.roles": "broker,controller",
            "node.id": str(self._node_id),
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": ",".join(f"{self._host}:{port}" for port in self._controller_ports),
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(f"{name}://{self._host}:{port}" for name, port in listeners.items()),
            "advertised.listeners": ",".join(f"{name}://{self._host}:{port}" for name, port in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in security.items()),
            "log.dirs": str(self.data),
            **_FAST_FOR_TESTS,
            **more,
            **self._overrides,
        }

    def _command(self, lib: Path, main: str, *arguments: str) -> list[str]:
        logging = (
            f"-Dlog4j2.configurationFile={POMS / 'log4j2.properties'}",
            f"-Dlog4j.configuration=file:{POMS / 'log4j.properties'}",
        )
        # Codecs unpack their libraries there; who is killed does not clean up, but the folder goes with the data.
        scratch = f"-Djava.io.tmpdir={self.log.parent}"
        return [java(), *_JVM_FLAGS, scratch, *logging, "-cp", f"{lib}/*", main, *arguments]

    def _run_to_end(self, lib: Path, main: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            done = subprocess.run(self._command(lib, main, *arguments), check=False, stdout=log, stderr=log)
        if done.returncode != 0:
            raise BrokerError(f"{main} failed; {self._last_words()}")

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises BrokerError."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        while True:
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=_ANSWER_TIMEOUT_S).brokers:
                    return
            if self._process is None or self._process.poll() is not None:
                raise BrokerError(f"Kafka {self.version} ended while it started; {self._last_words()}")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka {self.version} gave no answer in {_START_TIMEOUT_S} s; {self._last_words()}")

    def _last_words(self) -> str:
        return f"the end of {self.log}:\n{self.log.read_text(errors='replace')[-3000:]}"


class Cluster:
    """Several nodes that replicate: three copies of everything, two of which a write waits for. One is a cluster, too.

    `properties`, `users` and `advertised_ports` (one for each node, or none) are those of `Broker`.
    """

    def __init__(
        self,
        count: int,
        *,
        properties: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        advertised_ports: Sequence[int] = (),
    ) -> None:
        told = {**(_REPLICATED if count > 1 else {}), **(properties or {})}
        ports = advertised_ports or [None] * count
        self.nodes = [Broker(properties=told, users=users, advertised_port=port) for port in ports]
        self._controller_ports = [node.controller_port for node in self.nodes]
        for number, node in enumerate(self.nodes, start=1):
            node.join(number, self._controller_ports)

    @property
    def bootstrap(self) -> str:
        """Where clients connect without a password; they may do everything."""
        return ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        voters = ",".join(
            f"{number}@127.0.0.1:{port}:{_kafka_uuid()}" for number, port in enumerate(self._controller_ports, start=1)
        )
        cluster_id = _kafka_uuid()
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node._cleared_where_it_fails())
                node.format("-t", cluster_id, "--initial-controllers", voters)
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_until_ready()
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        for node in self.nodes:  # none waits for the others, which could not take over any more
            node.kill()
        for node in self.nodes:
            node.__exit__(error, *rest)


def _kafka_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _dying_with_us() -> list[str]:
    """A killed test run leaves no broker behind, where util-linux is there."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _access_control(users: Mapping[str, str]) -> dict[str, str]:
    passwords = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    login = f"org.apache.kafka.common.security.plain.PlainLoginModule required {passwords};"
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",  # whoever comes through the listeners without a password
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": login,
        "listener.name.proxy.plain.sasl.jaas.config": login,
    }


def _encryption(authority: Authority) -> dict[str, str]:
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    oauth = "org.apache.kafka.common.security.oauthbearer"
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.server()),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": login,
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{oauth}.OAuthBearerLoginModule required;",
        "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
            f"{oauth}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
        ),
        # Connections end with the token that they were signed in with.
        "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "3600000",
        "listener.name.tls.ssl.client.auth": "required",
        "listener.name.tls.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",  # the user's name alone
    }


def _run_in_foreground(version: str) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt), Broker(version, properties=_LIKE_A_REAL_ONE) as broker:
        print(f"Kafka {version} listens on {broker.bootstrap} (Ctrl-C stops it and forgets its data).", flush=True)  # noqa: T201  the command's output
        signal.pause()


_LIKE_A_REAL_ONE = {"auto.create.topics.enable": "true", "num.partitions": "4"}


def main() -> int:
    """The command line: `install` or `run`."""
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help=f"fetch Kafka {' and '.join(VERSIONS)} into the user's cache folder")
    run = commands.add_parser("run", help="a broker in the foreground, for trying things out")
    run.add_argument("--version", choices=VERSIONS, default=VERSION)
    arguments = parser.parse_args()
    try:
        if arguments.command == "run":
            _run_in_foreground(arguments.version)
        else:
            for version in VERSIONS:
                install(version)
    except BrokerError as error:
        print(error, file=sys.stderr)  # noqa: T201  the command's output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
