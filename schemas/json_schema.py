"""A model in, its JSON Schema out: without references, so that it can be put under any key of another schema."""

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

_DEFINITIONS = "$defs"
_REFERENCE = "$ref"


class _WithoutFieldTitles(GenerateJsonSchema):
    """A field's title would only repeat its name."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - the base class's signature
        return False


def json_schema_of(model: type[BaseModel]) -> JsonSchemaValue:
    """What the model accepts. Models that contain themselves have no such schema."""
    schema = model.model_json_schema(schema_generator=_WithoutFieldTitles)
    definitions = schema.pop(_DEFINITIONS, {})
    return _inlined(schema, definitions)


def _inlined(schema: JsonSchemaValue, definitions: JsonSchemaValue) -> JsonSchemaValue:
    beside = {name: _inside(value, definitions) for name, value in schema.items() if name != _REFERENCE}
    if _REFERENCE not in schema:
        return beside
    target = definitions[schema[_REFERENCE].rpartition("/")[2]]
    # What stands beside a reference (a field's own description, its default) goes before the target's.
    return {**_inlined(target, definitions), **beside}


def _inside(node: object, definitions: JsonSchemaValue) -> object:
    if isinstance(node, list):
        return [_inside(item, definitions) for item in node]
    return _inlined(node, definitions) if isinstance(node, dict) else node
