"""What is missing is named, where it cannot be installed; and where all is there, nothing is done."""

import re
import subprocess
import sys
from pathlib import Path

from tests.debian import PACKAGES

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def provide(*programs: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.debian", *programs]
    return subprocess.run(
        command, cwd=MAKEFILE.parent, env={"PATH": str(path)}, capture_output=True, text=True, check=False
    )


def test_packages_are_named_where_they_cannot_be_installed(tmp_path: Path) -> None:
    done = provide("podman", "mvn", "java", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "Missing: default-jre-headless maven podman. This command installs them on Debian, as root; here, you must.\n"
    )


def test_nothing_is_done_where_all_is_there(tmp_path: Path) -> None:
    (tmp_path / "podman").touch(mode=0o755)
    done = provide("podman", path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_program_of_the_makefile_has_its_package() -> None:
    lines = MAKEFILE.read_text(encoding="utf-8")
    named = re.findall(r"^(?:BROKER|IMAGE|NODE) +:= (.*)$", lines, re.MULTILINE)
    assert {word for line in named for word in line.split()} | {"chromium"} == PACKAGES.keys()
