"""The locks that are installed beside each other agree, and what stands twice is the same."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"


def locked(name: str) -> dict[str, str]:
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu", "exporter"])
def test_what_signs_in_to_msk_replaces_nothing_that_an_image_has(name: str) -> None:
    there, beside = locked(name), locked("msk-iam")
    assert "botocore" not in there
    assert {package: beside[package] for package in beside.keys() & there.keys()}.items() <= there.items()


def test_the_lock_is_made_of_what_the_extra_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (named,) = re.findall(r"echo '([^']+)' \| compile msk-iam", (REQUIREMENTS / "lock").read_text(encoding="utf-8"))
    assert named.split("\n") == project["optional-dependencies"]["msk-iam"]
