"""Writes the JSON Schemas of everything that crosses a process boundary: `python -m schemas.generate`."""

import json
from pathlib import Path

from pydantic import BaseModel

from schemas.dead_letter import DeadLetter
from schemas.json_schema import json_schema_of
from schemas.manifest import Manifest
from schemas.score_record import ScoreRecord
from schemas.settings import Settings

FOLDER = Path(__file__).parent / "json"
MODELS: dict[str, type[BaseModel]] = {
    "settings": Settings,
    "manifest": Manifest,
    "score_record": ScoreRecord,
    "dead_letter": DeadLetter,
}
"""File name, without its ending, to the model it describes."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def text_of(model: type[BaseModel]) -> str:
    """The file's text."""
    schema = {"$schema": _DIALECT, **json_schema_of(model)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema anew."""
    for name, model in MODELS.items():
        (FOLDER / f"{name}.json").write_text(text_of(model), encoding="utf-8")


if __name__ == "__main__":
    main()
