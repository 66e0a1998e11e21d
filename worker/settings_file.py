"""A settings file and environment variables in, checked settings out; and settings as they may be printed.

Variables go before the file. `${file:PATH}` and `${env:NAME}` inside any text are replaced by what the file or the
variable holds; `$${` is a plain `${`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.kafka_properties import is_secret
from schemas.settings import Place, Settings, known_settings
from worker.errors import ConfigError
from worker.settings_document import Document, read_document
from worker.settings_fault import dotted, sentences
from worker.settings_variables import Given, given_by, kinds_of, value_of

HIDDEN = "(hidden)"
"""What is printed in place of a secret."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(file|env):([^}]+)\})?")
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY_OF_URL = re.compile(r"(?<=\?)\S+")


def load_settings(path: Path | None, *, environ: Mapping[str, str]) -> Settings:
    """The settings of a file, of the environment, or of both.

    Args:
        path: the YAML file; None takes the environment alone.
        environ: the environment, for `ANOMALY_WORKER_...` and for `${env:NAME}`.

    Raises:
        ConfigError: one line for each fault: the setting, where it stands, what to do.
    """
    document = Document({}, {}) if path is None else read_document(_text_of(path), name=str(path))
    variables = given_by(environ)
    origin = _origins(path, document, variables)
    references = _References(environ, origin)
    values = references.filled(_merged(_without_empty(document.values), variables))
    from_elsewhere = frozenset(references.places)
    try:
        return Settings.model_validate(values).remembering(from_elsewhere)
    except ValidationError as error:
        hidden = _hides(from_elsewhere)
        # Its own text and its cause hold values, which may be secrets: only our sentences go on.
        raise ConfigError(sentences(error, origin=origin, may_show=lambda place: not hidden(place))) from None


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, for people: without secrets, and without what came from a file or a variable."""
    hidden = _hides(settings.from_elsewhere)

    def shown(place: Place, value: object) -> object:
        if hidden(place):
            return HIDDEN
        return _without_credentials(value) if isinstance(value, str) else value

    return {name: _mapped((name,), value, shown) for name, value in settings.model_dump(mode="json").items()}


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The settings file {path} is not UTF-8 text: save it as UTF-8.") from error


def _without_empty(values: Mapping[str, object]) -> dict[str, object]:
    """A section, mapping or list whose every line is commented out is null in YAML, and stands for its default."""
    schemas = known_settings()
    containers = {place for place, schema in schemas.items() if kinds_of(schema) & {"array", "object"}}
    sections = {place[0] for place in schemas if len(place) > 1}

    def inside(section: str, value: object) -> object:
        if value is None and section in sections:
            return {}
        if section not in sections or not isinstance(value, dict):
            return value
        return {key: inner for key, inner in value.items() if inner is not None or (section, key) not in containers}

    return {name: inside(name, value) for name, value in values.items()}


def _merged(values: Mapping[str, object], variables: Mapping[tuple[str, ...], Given]) -> dict[str, object]:
    """Variables before the file; every section is there, so that what it lacks is told setting by setting."""
    merged: dict[str, object] = {place[0]: {} for place in known_settings() if len(place) > 1} | dict(values)
    for place, (_, value) in variables.items():
        name, *key = place
        section = merged.get(name)
        merged[name] = {**(section if isinstance(section, dict) else {}), key[0]: value} if key else value
    return merged


def _origins(
    path: Path | None, document: Document, variables: Mapping[tuple[str, ...], Given]
) -> Callable[[Place], str | None]:
    """Says where the value at a place was written."""
    by_variable: dict[Place, str] = {
        place: f"environment variable {given.variable}" for place, given in variables.items()
    }
    by_line: dict[Place, str] = {place: f"{path}, line {line}" for place, line in document.lines.items()}

    def origin(place: Place) -> str | None:
        parts = [place[:length] for length in range(len(place), 0, -1)]
        return next((known[part] for known in (by_variable, by_line) for part in parts if part in known), None)

    return origin


class _References:
    """Replaces `${file:PATH}` and `${env:NAME}`, and notes the places of values that came from there."""

    def __init__(self, environ: Mapping[str, str], origin: Callable[[Place], str | None]) -> None:
        self._environ = environ
        self._origin = origin
        self._schemas = known_settings()
        self.places: set[Place] = set()

    def filled(self, values: Mapping[str, object]) -> dict[str, object]:
        """The values with every reference replaced. Raises ConfigError for one that leads nowhere."""
        return {name: _mapped((name,), value, self._value) for name, value in values.items()}

    def _value(self, place: Place, value: object) -> object:
        if not isinstance(value, str):
            return value
        text = _REFERENCE.sub(lambda match: self._held(place, match), value)
        if place in self.places and place in self._schemas:
            return value_of(text, self._schemas[tuple(map(str, place))])
        return text

    def _held(self, place: Place, match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        self.places.add(place)
        if match[1] == "env" and match[2] in self._environ:
            return self._environ[match[2]]
        if match[1] == "file":
            return self._content(place, Path(match[2]))
        problem = (
            f"names the environment variable {match[2]}, which is not set"
            if match[1]
            else "holds ${ without file:PATH} or env:NAME} after it; a plain ${ is written $${"
        )
        raise self._fault(place, problem)

    def _content(self, place: Place, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")  # editors and `echo` end a file with a new line
        except OSError as error:
            raise self._fault(place, f"names the file {path}, which cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise self._fault(place, f"names the file {path}, which is not UTF-8 text") from None

    def _fault(self, place: Place, problem: str) -> ConfigError:
        where = self._origin(place)
        return ConfigError(f"{dotted(place)}{f' ({where})' if where else ''} {problem}.")


def _mapped(place: Place, value: object, change: Callable[[Place, object], object]) -> Any:  # noqa: ANN401 - any JSON value
    """The value with every scalar in it changed."""
    if isinstance(value, dict):
        return {key: _mapped((*place, key), inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mapped((*place, position), inner, change) for position, inner in enumerate(value)]
    return change(place, value)


def _hides(from_elsewhere: frozenset[Place]) -> Callable[[Place], bool]:
    """Says whether the value at a place is a secret."""

    def hidden(place: Place) -> bool:
        if any(place[: len(origin)] == origin for origin in from_elsewhere):
            return True
        return place[0] == "kafka" and len(place) == 3 and is_secret(str(place[2]))

    return hidden


def _without_credentials(text: str) -> str:
    """A URL without user and query (a signed one carries its secret there); a key in PEM not at all."""
    if "-----BEGIN" in text:
        return HIDDEN
    return _QUERY_OF_URL.sub(HIDDEN, _USER_OF_URL.sub(HIDDEN, text)) if "://" in text else text
