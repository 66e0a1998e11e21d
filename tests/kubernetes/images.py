"""The images that a node runs: built by podman outside, carried over in an archive, taken in by containerd inside."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.broker import cache_folder
from tests.image.podman import IMAGE, build, podman

PAUSE = "localhost/pause:1"
TAG, NEXT_TAG = "cpu", "cpu-next"
"""The worker's image under two names: what a chart sees of a new version."""


def save(programs: Path) -> Path:
    """Build the worker's image from the checkout; where it, with the pause image, lies in an archive.

    The archive is kept in the user's cache folder for the next time, and takes the place of an older image's.
    """
    worker = build(TAG)
    (identity,) = podman("images", "--quiet", "--no-trunc", worker).split()
    kept = cache_folder() / "kubernetes-images"
    archive = kept / f"{identity.removeprefix('sha256:')[:12]}-{programs.name}.tar"
    if not archive.exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        _write(archive, worker, programs)
    return archive


def _write(archive: Path, worker: str, programs: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as partial:
        root, written = Path(partial) / "root.tar", Path(partial) / archive.name
        subprocess.run(["tar", "-C", programs, "-cf", root, "pause"], check=True)
        podman("import", '--change=ENTRYPOINT ["/pause"]', "--change=USER 65535:65535", str(root), PAUSE)
        podman("tag", worker, f"{IMAGE}:{NEXT_TAG}")
        podman("save", "--multi-image-archive", f"--output={written}", worker, f"{IMAGE}:{NEXT_TAG}", PAUSE)
        written.rename(archive)


def load(archive: Path, socket: Path) -> None:
    """Take the archive in, where containerd listens."""
    subprocess.run(
        ["ctr", f"--address={socket}", "--namespace=k8s.io", "images", "import", archive],
        check=True,
        capture_output=True,
    )
