"""The JSON Schemas in the repository, held to the models."""

import json

import pytest

from schemas.generate import FOLDER, MODELS, text_of
from schemas.settings import known_settings


@pytest.mark.parametrize("name", sorted(MODELS))
def test_each_schema_is_what_its_model_says(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert text == text_of(MODELS[name]), "run `python -m schemas.generate`"


def test_there_is_no_other_schema() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_schema_can_stand_inside_of_another(name: str) -> None:
    assert "$ref" not in text_of(MODELS[name])


def test_the_settings_allow_no_other_names_and_say_what_each_means() -> None:
    schema = json.loads(text_of(MODELS["settings"]))
    sections = [part for part in schema["properties"].values() if "properties" in part]
    assert all(section["additionalProperties"] is False for section in [schema, *sections])
    assert all(setting["description"] for setting in known_settings().values())
    assert schema["required"] == ["model", "kafka", "start"]


def test_readers_of_scores_survive_fields_of_a_later_version() -> None:
    assert "additionalProperties" not in json.loads(text_of(MODELS["score_record"]))
