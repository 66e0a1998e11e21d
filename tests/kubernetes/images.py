"""The images that a node runs: built by podman outside, carried over in an archive, taken in by containerd inside."""

import subprocess
import tempfile
from pathlib import Path

from tests.image.podman import IMAGE, build, podman

PAUSE = "localhost/pause:1"
TAG, NEXT_TAG = "cpu", "cpu-next"
"""The worker's image under two names: what a chart sees of a new version."""


def save(archive: Path, programs: Path) -> None:
    """Build the worker's image from the checkout, and write it with the pause image into an archive."""
    worker = build(TAG)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", programs, "-cf", root, "pause"], check=True)
        podman("import", '--change=ENTRYPOINT ["/pause"]', "--change=USER 65535:65535", str(root), PAUSE)
    podman("tag", worker, f"{IMAGE}:{NEXT_TAG}")
    podman("save", "--multi-image-archive", f"--output={archive}", worker, f"{IMAGE}:{NEXT_TAG}", PAUSE)


def load(archive: Path, socket: Path) -> None:
    """Take the archive in, where containerd listens."""
    subprocess.run(
        ["ctr", f"--address={socket}", "--namespace=k8s.io", "images", "import", archive],
        check=True,
        capture_output=True,
    )
