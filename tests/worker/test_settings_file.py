"""Settings from YAML text, environment variables and references, and what is said of their faults."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.settings import Settings
from worker.errors import ConfigError, ExitCode
from worker.settings_file import HIDDEN, load_settings, redacted

EXAMPLE = Path(__file__).parents[2] / "examples/worker.yaml"
LEAST = """\
model: {uri: machine.onnx}
kafka:
  bootstrap_servers: localhost:9092
  group_id: machine-anomalies
  input_topics: [machine-events]
  output_topic: machine-scores
  dead_letter_topic: machine-dead-letters
start: earliest
"""
VARIABLES = {
    "ANOMALY_WORKER_MODEL__URI": "machine.onnx",
    "ANOMALY_WORKER_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092",
    "ANOMALY_WORKER_KAFKA__GROUP_ID": "machine-anomalies",
    "ANOMALY_WORKER_KAFKA__INPUT_TOPICS": '["machine-events"]',
    "ANOMALY_WORKER_KAFKA__OUTPUT_TOPIC": "machine-scores",
    "ANOMALY_WORKER_KAFKA__DEAD_LETTER_TOPIC": "machine-dead-letters",
    "ANOMALY_WORKER_START": "earliest",
}

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads `LEAST`, some more lines and some variables; the file is called worker.yaml in every message."""
    monkeypatch.chdir(tmp_path)

    def load(more: str = "", *, text: str = LEAST, **environ: str) -> Settings:
        Path("worker.yaml").write_text(text + more, encoding="utf-8")
        return load_settings(Path("worker.yaml"), environ=environ)

    return load


@pytest.fixture
def complaint(load: Load) -> Callable[..., str]:
    def complaint(more: str = "", **given: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(more, **given)
        assert caught.value.exit_code == ExitCode.WRONG_USE
        return str(caught.value)

    return complaint


def test_the_example_is_accepted() -> None:
    settings = load_settings(EXAMPLE, environ={})
    assert settings.kafka.input_topics == ["machine-events"]


def test_the_environment_alone_is_enough(load: Load) -> None:
    assert load_settings(None, environ=VARIABLES) == load()


def test_a_variable_goes_before_the_file(load: Load) -> None:
    settings = load(
        "batch: {max_events: 5, max_wait_ms: 6}\nhttp: {port: 1}",
        ANOMALY_WORKER_BATCH__MAX_EVENTS="7",
        ANOMALY_WORKER_HTTP__PORT="null",
        ANOMALY_WORKER_ALERT__THRESHOLD="1.5e0",
        ANOMALY_WORKER_KAFKA__GROUP_ID="123",
        ANOMALY_WORKER_KAFKA__PROPERTIES='{"client.id": "null"}',
        ANOMALY_WORKER_ON_GAP="continue",
    )
    assert (settings.batch.max_events, settings.batch.max_wait_ms) == (7, 6)
    assert settings.http.port is None
    assert settings.alert.threshold == 1.5
    assert settings.kafka.group_id == "123"
    assert settings.kafka.properties == {"client.id": "null"}
    assert settings.on_gap == "continue"


def test_a_whole_section_may_be_json_and_its_variables_go_before_it(load: Load) -> None:
    settings = load(
        "batch: {max_wait_ms: 6}",
        ANOMALY_WORKER_BATCH='{"max_events": 5}',
        ANOMALY_WORKER_LOG='{"level": "debug", "format": "text"}',
        ANOMALY_WORKER_LOG__LEVEL="error",
    )
    assert (settings.batch.max_events, settings.batch.max_wait_ms) == (5, 6)
    assert (settings.log.level, settings.log.format) == ("error", "text")


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name(complaint: Callable[..., str]) -> None:
    assert complaint(ANOMALY_WORKER_KAFKA__GRUP_ID="x") == (
        "The environment variable ANOMALY_WORKER_KAFKA__GRUP_ID is no setting: "
        "did you mean ANOMALY_WORKER_KAFKA__GROUP_ID?"
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ANOMALY_WORKER_KAFAK__GROUP_ID", "ANOMALY_WORKER_KAFKA__GROUP_ID"),
        ("ANOMALY_WORKER_Kafka__Group_Id", "ANOMALY_WORKER_KAFKA__GROUP_ID"),
        ("ANOMALY_WORKER_BATCH__MAX_EVENT", "ANOMALY_WORKER_BATCH__MAX_EVENTS"),
        ("ANOMALY_WORKER_LOOKBACK__OFFSETS", "ANOMALY_WORKER_LOOKBACK_OFFSETS"),
    ],
)
def test_what_a_variable_begins_with_is_also_misspelt(complaint: Callable[..., str], name: str, meant: str) -> None:
    assert complaint(**{name: "x"}) == f"The environment variable {name} is no setting: did you mean {meant}?"


@pytest.mark.parametrize("name", ["ANOMALY_WORKER_KAFKA__NOPE", "ANOMALY_WORKER_ZZZ__QQQ"])
def test_a_variable_that_is_like_no_setting_is_refused_without_a_guess(
    complaint: Callable[..., str], name: str
) -> None:
    assert complaint(**{name: "x"}) == (
        f"The environment variable {name} is no setting: docs/settings.md lists those that there are."
    )


@pytest.mark.parametrize("name", ["ANOMALY_WORKER_Kafka__Group_Id", "ANOMALY_WORKER_START__", "ANOMALY_WORKER___"])
def test_no_name_with_two_underscores_is_overlooked(complaint: Callable[..., str], name: str) -> None:
    assert f"The environment variable {name} is no setting" in complaint(**{name: "x"})


def test_what_an_orchestrator_puts_beside_every_program_is_left_alone(load: Load) -> None:
    assert load(ANOMALY_WORKER_SERVICE_HOST="10.0.0.1", ANOMALY_WORKER_PORT="tcp://10.0.0.1:80", OTHER__X="y") == load()


def test_a_fault_tells_setting_place_and_remedy(complaint: Callable[..., str]) -> None:
    assert (
        complaint("batch:\n  max_events: 0\n") == "batch.max_events must be at least 1, not 0 (worker.yaml, line 10)."
    )
    assert complaint(ANOMALY_WORKER_BATCH__MAX_EVENTS="many") == (
        'batch.max_events must be a whole number, not "many" (environment variable ANOMALY_WORKER_BATCH__MAX_EVENTS).'
    )
    assert complaint(text=LEAST.replace("start: earliest", "")) == (
        "start is required: set it in the settings file or as ANOMALY_WORKER_START."
    )


def test_what_only_looks_like_json_is_refused(complaint: Callable[..., str]) -> None:
    assert "alert.threshold must be a finite number" in complaint(ANOMALY_WORKER_ALERT__THRESHOLD="NaN")
    assert "events.where must be a mapping" in complaint(ANOMALY_WORKER_EVENTS__WHERE='{"a": Infinity}')


def test_every_fault_has_its_line(complaint: Callable[..., str]) -> None:
    assert complaint("batch: {max_events: yes}\nbacth: 1\nlog: [text]\n").splitlines() == [
        "bacth is not a setting (worker.yaml, line 10): did you mean batch?",
        'batch.max_events must be a whole number, not "yes" (worker.yaml, line 9).',
        'log must be a mapping, such as {"a": "b"} (worker.yaml, line 11).',
    ]


@pytest.mark.parametrize(
    ("right", "misspelt", "said"),
    [
        ("group_id:", "grop_id:", "kafka.grop_id is not a setting (worker.yaml, line 4): did you mean kafka.group_id?"),
        ("kafka:", "kafak:", "kafak is not a setting (worker.yaml, line 2): did you mean kafka?"),
        ("start:", "strat:", "strat is not a setting (worker.yaml, line 8): did you mean start?"),
        ("  group_id: machine-anomalies\n", "", "kafka.group_id is required: set it in the settings file or as "),
    ],
)
def test_a_misspelt_name_is_told_alone_and_not_also_as_missing(
    complaint: Callable[..., str], right: str, misspelt: str, said: str
) -> None:
    (line,) = complaint(text=LEAST.replace(right, misspelt)).splitlines()
    assert line.startswith(said)


def test_without_the_kafka_section_each_of_its_required_settings_is_told(complaint: Callable[..., str]) -> None:
    said = complaint(text="model: {uri: m}\nstart: latest\n").splitlines()
    assert [line.partition(" ")[0] for line in said] == [
        "kafka.bootstrap_servers",
        "kafka.group_id",
        "kafka.input_topics",
        "kafka.output_topic",
        "kafka.dead_letter_topic",
    ]


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        ("events: {entitty: a}", "events.entitty is not a setting (worker.yaml, line 9): did you mean events.entity?"),
        ("group_id: a", "group_id is not a setting (worker.yaml, line 9): did you mean kafka.group_id?"),
        ("batch: {port: 1}", "batch.port is not a setting (worker.yaml, line 9): did you mean http.port?"),
        ("alert: {zzz: 1}", "alert.zzz is not a setting (worker.yaml, line 9): alert has alert.threshold."),
        (
            "zzz: 1",
            "zzz is not a setting (worker.yaml, line 9): there are model, kafka, events, delivery, start, on_gap, ",
        ),
        ("explian: {}", "explian is not a setting (worker.yaml, line 9): did you mean explain?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(complaint: Callable[..., str], more: str, remedy: str) -> None:
    assert complaint(more).startswith(remedy)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("log: {level: }", "log.level is empty (worker.yaml, line 9)"),
        ("events: {max_bytes: }", "events.max_bytes is empty (worker.yaml, line 9)"),
        ("events: {entity: ''}", "events.entity is empty (worker.yaml, line 9)"),
        ("delivery: at-most-once", "delivery must be 'exactly-once' or 'at-least-once', not \"at-most-once\""),
        ("events: {format: avro}", "events.format avro is not built yet: use json (worker.yaml, line 9)."),
        ("events: {max_missing: 2}", "events.max_missing must be at most 1, not 2 (worker.yaml, line 9)."),
        ("alert: {threshold: .inf}", 'alert.threshold must be a finite number, not ".inf" (worker.yaml, line 9).'),
        ("alert: {threshold: -.Inf}", "alert.threshold must be a finite number"),
        ("alert: {threshold: 1e999}", "alert.threshold must be a finite number"),
        ("alert: {threshold: info}", 'alert.threshold must be a number, not "info" (worker.yaml, line 9).'),
        ("batch: {max_events: .inf}", 'batch.max_events must be a whole number, not ".inf" (worker.yaml, line 9).'),
        ("events:\n  where:\n    a: [1,\n    {}]", "events.where.a.1 must be text, a number, true, false or null"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(complaint: Callable[..., str], more: str, said: str) -> None:
    assert said in complaint(more)


def test_an_empty_required_setting_is_told(complaint: Callable[..., str]) -> None:
    said = complaint(text=LEAST.replace("group_id: machine-anomalies", "group_id:"))
    assert said.startswith("kafka.group_id is empty (worker.yaml, line 4)")
    assert complaint(ANOMALY_WORKER_KAFKA__GROUP_ID="").startswith(
        "kafka.group_id is empty (environment variable ANOMALY_WORKER_KAFKA__GROUP_ID)"
    )


def test_a_refused_property_is_told_with_the_reason_at_its_line(complaint: Callable[..., str]) -> None:
    text = LEAST.replace("start:", "  consumer:\n    enable.auto.commit: true\nstart:")
    assert complaint(text=text) == (
        "kafka.consumer.enable.auto.commit may not be set: offsets are committed together with the scores, "
        "by the worker alone (worker.yaml, line 9)."
    )


def test_a_rule_over_two_sections_is_told_at_the_property(complaint: Callable[..., str]) -> None:
    text = LEAST.replace("start:", "  producer:\n    message.max.bytes: 5\nstart:")
    said = complaint(text=text)
    assert said.startswith("kafka.producer.message.max.bytes must be a whole number of at least 1048000")
    assert said.endswith("(worker.yaml, line 9).")


def test_what_is_commented_out_stands_for_its_default(load: Load) -> None:
    text = LEAST.replace("start:", "  properties:\n    # linger.ms: 5\nstart:")
    assert load("batch:\n  # max_events: 5\nevents:\n  required:\n  where:\n", text=text) == load()


@pytest.mark.parametrize("start", ["2026-01-31T12:00:00Z", "2026-01-31 12:00:00", "'2026-01-31T12:00:00Z'"])
def test_a_start_time_needs_no_quotes(load: Load, start: str) -> None:
    assert load(text=LEAST.replace("start: earliest", f"start: {start}")).start_time_ms == 1_769_860_800_000


def test_plain_scalars_mean_what_they_mean_in_json(load: Load) -> None:
    where = load(
        "events: {where: {a: [no, on, 010, 1_000, 1e3, -.5, true, ~, 12:30, 2026-01-31, 0x1f, '1', NaN]}}"
    ).events.where["a"]
    assert where == ["no", "on", "010", 1000, 1000.0, -0.5, True, None, "12:30", "2026-01-31", "0x1f", "1", "NaN"]


def test_a_key_is_always_text(load: Load) -> None:
    assert load("events: {features: {on: a, 1: b, 2026-01-31: c, ~: d}}").events.features == {
        "on": "a",
        "1": "b",
        "2026-01-31": "c",
        "~": "d",
    }


def test_anchors_and_merges_work(load: Load) -> None:
    settings = load("events: {where: {a: &both [1, 2], b: *both}}\nbatch: &b {max_events: 5}\nlog: {level: debug}\n")
    assert settings.events.where == {"a": [1, 2], "b": [1, 2]}
    merged = load("explain: &e {when: all}\nevents: {features: {<<: {x: a, y: b}, y: c}}\n")
    assert merged.events.features == {"x": "a", "y": "c"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [", "worker.yaml, line 1: this is not valid YAML"),
        ("a: 1\n\tb: 2", "worker.yaml, line 2: this is not valid YAML"),
        ("start: a\nstart: b", "worker.yaml, line 2: this is not valid YAML: the key start stands twice."),
        ("log: {level: a, level: b}", "worker.yaml, line 1: this is not valid YAML: the key level stands twice."),
        ("a: 1\n---\nb: 2", "worker.yaml, line 2: this is not valid YAML"),
        ("a: &a [*a]", "an alias stands inside of what it stands for"),
        ("[a]: b", "a key must be text"),
        ("a: !!python/object:os.system x", "this is not valid YAML"),
        ("a: \x01", "worker.yaml: this is not valid YAML: it holds characters that text does not have."),
        ("- a", "worker.yaml: settings are a mapping"),
        ("text", "worker.yaml: settings are a mapping"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(complaint: Callable[..., str], text: str, said: str) -> None:
    assert said in complaint(text=text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_an_empty_file_is_a_file_without_settings(complaint: Callable[..., str], text: str) -> None:
    assert "kafka.group_id is required" in complaint(text=text)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "absent.yaml"
    with pytest.raises(ConfigError, match=r"The settings file .*absent.yaml cannot be read: No such file"):
        load_settings(missing, environ={})
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_settings(tmp_path / "latin.yaml", environ={})


def test_references_are_replaced_inside_of_any_text(load: Load) -> None:
    Path("password").write_text("hush\n", encoding="utf-8")
    text = LEAST.replace("start:", "  properties: {sasl.password: 'a-${file:password}-${env:WHO}'}\nstart:")
    settings = load(
        "batch: {max_events: '${env:EVENTS}'}\nevents: {passthrough: ['$${env:X}', 'b'], required: '${env:LIST}'}\n",
        text=text,
        WHO="me",
        EVENTS="5",
        LIST='["x", "y"]',
    )
    assert settings.kafka.properties == {"sasl.password": "a-hush-me"}
    assert settings.batch.max_events == 5
    assert settings.events.passthrough == ["${env:X}", "b"]
    assert settings.events.required == ["x", "y"]


def test_a_variable_may_hold_a_reference(load: Load) -> None:
    Path("group").write_text("machines", encoding="utf-8")
    assert load(ANOMALY_WORKER_KAFKA__GROUP_ID="${file:group}").kafka.group_id == "machines"


def test_what_a_reference_brings_is_not_looked_through_again(load: Load) -> None:
    assert load(ANOMALY_WORKER_KAFKA__GROUP_ID="${env:A}", A="${env:B}").kafka.group_id == "${env:B}"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${env:ABSENT}", "names the environment variable ABSENT, which is not set."),
        ("${file:absent}", "names the file absent, which cannot be read: No such file or directory."),
        ("${file:.}", "names the file ., which cannot be read: Is a directory."),
        ("${HOME}", "holds ${ without file:PATH} or env:NAME} after it; a plain ${ is written $${."),
        ("${env:", "holds ${ without"),
        ("${}", "holds ${ without"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told_at_its_place(
    complaint: Callable[..., str], reference: str, said: str
) -> None:
    assert f"log.level (worker.yaml, line 9) {said}" in complaint(f"log: {{level: '{reference}'}}")


def test_a_reference_to_bytes_is_told(complaint: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "names the file bytes, which is not UTF-8 text" in complaint("log: {level: '${file:bytes}'}")


SECRETS = """
  properties:
    sasl.username: worker
    sasl.password: hush-1
    ssl.key.pem: hush-2
    client.id: ${env:CLIENT}
    socket.timeout.ms: 1000
  producer:
    some.token: hush-3
start:"""


def test_secrets_are_not_printed(load: Load) -> None:
    text = LEAST.replace("\nstart:", SECRETS).replace(
        "machine.onnx", "'https://u:hush-5@models/m?sig=hush-6', sha256: " + "a" * 64
    )
    settings = load("log: {level: '${env:LEVEL}'}", text=text, CLIENT="hush-4", LEVEL="debug")
    shown = redacted(settings)
    assert "hush" not in json.dumps(shown)
    assert shown["kafka"]["properties"] == {
        "sasl.username": "worker",
        "sasl.password": HIDDEN,
        "ssl.key.pem": HIDDEN,
        "client.id": HIDDEN,
        "socket.timeout.ms": 1000,
    }
    assert shown["kafka"]["producer"] == {"some.token": HIDDEN}
    assert shown["log"]["level"] == HIDDEN
    assert shown["model"]["uri"] == f"https://{HIDDEN}@models/m?{HIDDEN}"
    assert settings.kafka.properties["sasl.password"] == "hush-1"


def test_a_key_in_the_wrong_place_is_not_printed(load: Load) -> None:
    settings = load(ANOMALY_WORKER_KAFKA__PROPERTIES='{"ssl.ca.location": "-----BEGIN PRIVATE KEY-----"}')
    assert redacted(settings)["kafka"]["properties"] == {"ssl.ca.location": HIDDEN}


def test_no_fault_tells_a_secret(complaint: Callable[..., str]) -> None:
    text = LEAST.replace("\nstart:", SECRETS + " hush-7\nx:").replace("hush-1", "[hush-1]")
    said = complaint(
        "log: {level: '${env:LEVEL}'}\nbatch: {max_events: '${env:LEVEL}'}",
        text=text,
        CLIENT="hush-4",
        LEVEL="hush-8",
        ANOMALY_WORKER_KAFKA__CONSUMER='{"sasl.password": "hush-9"',
    )
    assert len(said.splitlines()) == 6
    assert "hush" not in said


def test_a_fault_keeps_no_secret_for_a_traceback(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("log: {level: '${env:LEVEL}'}", LEVEL="hush")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_printed_settings_give_the_same_settings_again(load: Load) -> None:
    settings = load(
        "events: {where: {a: 1}, features: {x: a.b}}\nhttp: {port: null}\n", ANOMALY_WORKER_START="2026-01-31"
    )
    Path("again.yaml").write_text(yaml.safe_dump(redacted(settings)), encoding="utf-8")
    assert load_settings(Path("again.yaml"), environ={}) == settings


def outcome(environ: dict[str, str]) -> str:
    try:
        load_settings(None, environ=environ)
    except ConfigError as error:
        return str(error)
    return "settings"


@given(st.text(), st.text())
def test_any_text_ends_in_settings_or_in_a_sentence_about_it(entity: str, events: str) -> None:
    said = outcome(VARIABLES | {"ANOMALY_WORKER_EVENTS__ENTITY": entity, "ANOMALY_WORKER_BATCH__MAX_EVENTS": events})
    assert said == "settings" or "events.entity" in said or "batch.max_events" in said
