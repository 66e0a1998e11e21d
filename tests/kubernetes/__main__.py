"""`python -m tests.kubernetes`: builds what is needed, once, and runs the checks by pytest on a machine within."""

import os
import signal
import sys

from tests.kubernetes import images, machine, programs

CHECKS = ("tests/kubernetes/chart_checks.py", "tests/kubernetes/load_checks.py")


def main(arguments: list[str]) -> int:
    """The exit code of pytest; 1 where something is missing."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left behind then either
    try:
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
