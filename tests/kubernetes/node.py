"""A Kubernetes of one node, from its own programs: etcd, API server, controllers, scheduler, kubelet, and containerd.

Everything has its usual port, in a network that nobody else sees (machine.py). Pods reach the node at `ADDRESS`.
"""

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes import images
from tests.kubernetes.api import Api, ApiError, Object
from tests.kubernetes.machine import ADDRESS, BRIDGE, SUBNET

NAME = "node"
SERVER = f"https://{ADDRESS}:6443"
SOCKET = Path("/run/containerd/containerd.sock")
PLUGINS = Path("/usr/lib/cni")  # where Debian's containernetworking-plugins puts them

_ADMIN, _KUBELET = "admin-token", "kubelet-token"
_TOKENS = f'{_ADMIN},admin,1,"system:masters"\n{_KUBELET},system:node:{NAME},2,"system:nodes"\n'
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 180.0, 20.0


class Program:
    """One of the node's programs, stopped by its own process id."""

    def __init__(self, command: Sequence[str | Path], log: Path, is_up: Callable[[], bool]) -> None:
        self._command, self._log, self._is_up = command, log, is_up
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; not waited for."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_up(self) -> None:
        """Return once it says that it is well. Raises RuntimeError with its last words."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_up():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self._log.stem} {'ended' if ended else 'is not up'}; its last words:\n{said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Let it end by itself, else end it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@dataclass(frozen=True)
class Node:
    """What checks need of it."""

    api: Api
    kubeconfig: Path
    kubelet: Program
    seconds: float
    """How long it took to be Ready, images included."""


@contextlib.contextmanager
def node(programs: Path, folder: Path) -> Iterator[Node]:
    """A node that is Ready and has its images. Raises RuntimeError with the last words of what does not start.

    Args:
        programs: Where the programs of Kubernetes are.
        folder: The node's ground (machine.py), with `images.tar` in it.
    """
    began_s = time.monotonic()
    authority = folder / "certificates" / "apiserver.crt"
    kubeconfig = _write_settings(folder, authority)
    api = Api(SERVER, _ADMIN, authority)
    with contextlib.ExitStack() as stack:
        started = {}
        for name, command, is_up in _programs(programs, folder, api):
            started[name] = Program(command, folder / f"{name}.log", is_up)
            started[name].start()
            stack.callback(started[name].stop)
            if name in {"etcd", "containerd", "kube-apiserver"}:  # the others stand on these
                started[name].wait_until_up()
            if name == "containerd":
                images.load(folder / "images.tar", SOCKET)
        for program in started.values():
            program.wait_until_up()
        api.wait_until(lambda: is_ready(api.items("/api/v1/nodes")), "the node is Ready", _START_TIMEOUT_S)
        yield Node(api, kubeconfig, started["kubelet"], time.monotonic() - began_s)


def is_ready(objects: list[Object]) -> bool:
    """Whether there are any, and all have the condition Ready."""
    ready = {"type": "Ready", "status": "True"}
    conditions = [one.get("status", {}).get("conditions", []) for one in objects]
    return bool(conditions) and all(any(ready.items() <= held.items() for held in each) for each in conditions)


def _programs(programs: Path, folder: Path, api: Api) -> Iterator[tuple[str, Sequence[str | Path], Callable[[], bool]]]:
    """Name, command and sign of life, in the order in which they are started."""
    key, certificates = folder / "accounts.key", folder / "certificates"
    yield "containerd", ["containerd", "--config", folder / "containerd.toml"], _containerd_answers
    yield (
        "etcd",
        [programs / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync"],
        lambda: _answers("http://127.0.0.1:2379/health"),
    )
    yield (
        "kube-apiserver",
        [
            programs / "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={ADDRESS}",
            f"--cert-dir={certificates}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--kubelet-preferred-address-types=InternalIP",
        ],
        lambda: _api_answers(api),
    )
    client = (f"--kubeconfig={folder / 'kubeconfig'}", "--bind-address=127.0.0.1", "--leader-elect=false")
    keys = (f"--service-account-private-key-file={key}", f"--root-ca-file={certificates / 'apiserver.crt'}")
    for name, port, more in (("kube-controller-manager", 10257, keys), ("kube-scheduler", 10259, ())):
        yield name, [programs / name, *client, *more], lambda port=port: _listens(port)
    yield (
        "kubelet",
        [
            programs / "kubelet",
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
        ],
        lambda: _answers("http://127.0.0.1:10248/healthz"),
    )


def _containerd_answers() -> bool:
    done = subprocess.run(["ctr", f"--address={SOCKET}", "version"], capture_output=True, check=False)
    return done.returncode == 0


def _api_answers(api: Api) -> bool:
    with contextlib.suppress(ApiError, OSError):
        return api.text("/readyz") == "ok"
    return False


def _answers(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own
        return bool(answer.status == 200)
    return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def _write_settings(folder: Path, authority: Path) -> Path:
    """Everything that the programs read; gives the kubeconfig of who may do everything."""
    subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(_TOKENS)
    (folder / "empty").touch()
    (folder / "containerd.toml").write_text(_containerd(folder))
    networks = folder / "networks"
    networks.mkdir()
    (networks / "bridge.conflist").write_text(json.dumps(_network(folder)))
    (folder / "kubelet.yaml").write_text(json.dumps(_kubelet(folder)))  # JSON is YAML
    (folder / "kubelet.kubeconfig").write_text(json.dumps(_client(_KUBELET, authority)))
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(_client(_ADMIN, authority)))
    return kubeconfig


def _client(token: str, authority: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": SERVER, "certificate-authority": str(authority)}}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


def _containerd(folder: Path) -> str:
    return f"""\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
restrict_oom_score_adj = true  # containers in which tests run may not lower the score, and no sandbox would start
disable_apparmor = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{folder}/networks"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def _network(folder: Path) -> Object:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": SUBNET, "gateway": ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folder / "addresses"),
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(folder: Path) -> Object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # who is in this network may do everything
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folder.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "resolvConf": str(folder / "empty"),
        # A test machine that is short of space is no node that evicts pods.
        "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
