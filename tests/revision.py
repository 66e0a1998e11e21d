"""Which state of the code a recorded figure is of."""

import subprocess

from tests.broker import CHECKOUT

RECORDS = "docs"
"""Where recorded figures are added while others are being made."""


def revision() -> str:
    """The commit of the checkout, with `-dirty` where files beside the documentation differ; else `unknown`."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", f":(exclude){RECORDS}")
    return f"{commit}{'-dirty' * bool(changed)}" if commit else "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
