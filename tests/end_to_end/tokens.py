"""Tokens of a test's workers that sign in as to Amazon MSK: what they are, and which were made."""

import json
import os
from pathlib import Path

STAND_IN = Path(__file__).parent / "stand_in"


class Tokens:
    """Tells the stand-in of AWS's signer what to make, through a folder."""

    def __init__(self, folder: Path, *, user: str) -> None:
        self._folder = folder
        self._told = {"user": user, "life_s": 600.0, "away": False}
        self.are()

    def are(self, **changes: object) -> None:
        """From now on."""
        self._told |= changes
        partial = self._folder / "told.partial"
        partial.write_text(json.dumps(self._told), encoding="utf-8")
        partial.rename(self._folder / "told.json")

    @property
    def made(self) -> list[str]:
        """All so far, by every process."""
        path = self._folder / "made"
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    @property
    def variables(self) -> dict[str, str]:
        """What a worker must be told."""
        return {
            "PYTHONPATH": f"{STAND_IN}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "TOKENS": str(self._folder),
            "AWS_ACCESS_KEY_ID": "of nobody",
            "AWS_SECRET_ACCESS_KEY": "canary-of-the-key",
        }
