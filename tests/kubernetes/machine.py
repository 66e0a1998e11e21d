"""A machine within the machine, for a node of Kubernetes: what runs, listens and is mounted there ends with it.

`run` starts a command in namespaces of its own; `furnish`, called by that command, gives it a network and keeps its
writes from the outside. Folder and control groups are removed by whoever started it, however it ended.
"""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.broker import CHECKOUT

FOLDER, PROGRAMS = "KUBERNETES_FOLDER", "KUBERNETES_PROGRAMS"
"""Variables that tell a command inside where its ground is, and the node's programs."""

BRIDGE, ADDRESS, SUBNET = "node0", "10.244.0.1", "10.244.0.0/24"

_FOLDERS = CHECKOUT / ".cache" / "kubernetes"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
_WRITTEN = ("/run", "/var/lib", "/var/log")
"""Where containerd, the kubelet and network plugins put what has no setting."""

_TUNED = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_TUNED_KEYS = ("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
"""What a kubelet sets for the whole kernel."""

_END_TIMEOUT_S = 20.0


@contextlib.contextmanager
def ground() -> Iterator[Path]:
    """An empty folder for a node; its name is that of the node's control group. Both are gone afterwards."""
    _FOLDERS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=_FOLDERS, prefix="node-"))
    groups = [hierarchy / folder.name for hierarchy in hierarchies()]
    try:
        for group in groups:
            group.mkdir()
        yield folder
    finally:
        for group in groups:
            _remove_group(group)
        shutil.rmtree(folder)


def hierarchies() -> list[Path]:
    """Where control groups can be made: one place, or one for each controller."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())
    places = [Path(place) for _, place, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]
    return [place for place in places if _CONTROL_GROUPS in (place, *place.parents)]


def _remove_group(group: Path) -> None:
    """The group and those in it, once the last process is gone."""
    inner = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    deadline = time.monotonic() + _END_TIMEOUT_S
    for path in [*inner, group]:
        while True:
            try:
                path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                break


def run(command: Sequence[str]) -> int:
    """The exit code of a command in namespaces of its own; whatever it leaves running ends with it."""
    with subprocess.Popen([*_NAMESPACES, *command], cwd=CHECKOUT) as process:
        try:
            return process.wait()
        except BaseException:
            process.kill()  # unshare heeds nothing else; the kernel ends all that is inside
            raise


def furnish(folder: Path) -> None:
    """Inside: a bridge for pods, and private copies of what a node writes. Raises CalledProcessError."""
    for place in _WRITTEN:
        upper, work = (folder / f"{kind}{place.replace('/', '-')}" for kind in ("upper", "work"))
        upper.mkdir()
        work.mkdir()
        layers = f"lowerdir={place},upperdir={upper},workdir={work}"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, place)
    for name in (*_TUNED, *_TUNED_KEYS):
        knob, copy = Path("/proc/sys") / name, folder / name.replace("/", "-")
        copy.write_text(knob.read_text())
        _do("mount", "--bind", str(copy), str(knob))
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "link", "add", BRIDGE, "type", "bridge")
    _do("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _do("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
