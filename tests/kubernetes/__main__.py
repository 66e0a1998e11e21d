"""`python -m tests.kubernetes`: builds what is needed, once, and runs the checks by pytest on a machine within."""

import os
import shutil
import signal
import sys

from tests.image import podman
from tests.kubernetes import images, machine, node, programs

CHECKS = ("tests/kubernetes/chart_checks.py", "tests/kubernetes/load_checks.py")


def complain_of_what_is_missing() -> None:
    """Raise RuntimeError with the remedy where a program is not there."""
    needed = podman.NEEDED | machine.NEEDED | node.NEEDED
    missing = {package for program, package in needed.items() if shutil.which(program) is None}
    if not (node.PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        remedy = "apt-get install --no-install-recommends " + " ".join(sorted(missing))
        raise RuntimeError(f"{', '.join(sorted(missing))} missing: {remedy} (as root, on Debian).")


def main(arguments: list[str]) -> int:
    """The exit code of pytest; 1 where something is missing."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left behind then either
    try:
        complain_of_what_is_missing()
        built = programs.install()
    except RuntimeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command's output
        return 1
    with machine.ground() as folder:
        (folder / "images.tar").symlink_to(images.save(built))
        os.environ.update({machine.FOLDER: str(folder), machine.PROGRAMS: str(built)})
        return machine.run([sys.executable, "-m", "pytest", *(arguments or CHECKS)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
