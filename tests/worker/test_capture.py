"""The arguments of `capture`, without brokers."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.least_settings import least_settings
from worker import capture
from worker.errors import BrokerError, ConfigError
from worker.extent import Extent

DAY_MS = 86_400_000


@pytest.fixture
def parsed(tmp_path: Path) -> Callable[..., argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="anomaly-worker capture")
    parser.add_argument("--config", type=Path)
    capture.add_arguments(parser)
    return lambda *given: parser.parse_args(["--output", str(tmp_path / "events.csv"), *given])


def extent(arguments: argparse.Namespace) -> Extent:
    return capture.extent_of(arguments, now_ms=100 * DAY_MS)


def test_an_extent_is_a_span_a_range_or_a_number(parsed: Callable[..., argparse.Namespace]) -> None:
    assert extent(parsed("--last", "7d")) == Extent(from_ms=93 * DAY_MS)
    assert extent(parsed("--from", "1970-01-02", "--to", "1970-01-03")) == Extent(from_ms=DAY_MS, to_ms=2 * DAY_MS)
    assert extent(parsed("--max-events", "10", "--last", "1d")) == Extent(from_ms=99 * DAY_MS, max_events=10)


def test_without_an_extent_the_ways_to_give_one_are_told(parsed: Callable[..., argparse.Namespace]) -> None:
    with pytest.raises(ConfigError, match=r"Give --last 7d, or --from TIME"):
        extent(parsed())
    with pytest.raises(ConfigError, match="give one of them"):
        extent(parsed("--last", "7d", "--from", "1970-01-02"))


@pytest.mark.parametrize("given", [["--last", "7"], ["--from", "yesterday"], ["--max-events", "0"]])
def test_a_mistyped_extent_is_explained(
    parsed: Callable[..., argparse.Namespace], given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*given)
    assert ended.value.code == 2
    assert repr(given[1]) in capsys.readouterr().err


def test_help_teaches_with_an_example(
    parsed: Callable[..., argparse.Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "anomaly-worker capture --config worker.yaml --last 7d --output events.parquet" in capsys.readouterr().out


def test_an_extent_tells_its_range() -> None:
    assert str(Extent(from_ms=0, to_ms=DAY_MS)) == " from 1970-01-01T00:00:00Z until 1970-01-02T00:00:00Z"
    assert not str(Extent(max_events=3))


def test_a_broker_out_of_reach_is_told_and_no_file_is_left(
    parsed: Callable[..., argparse.Namespace], tmp_path: Path
) -> None:
    kafka = dict(least_settings().kafka) | {"bootstrap_servers": "127.0.0.1:1", "start_timeout_s": 0.5}
    with pytest.raises(BrokerError, match=r"No broker answered within 0\.5 s"):
        capture.run(parsed("--last", "7d"), least_settings(kafka=kafka))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "sentence"), [("events.xlsx", "must end in"), ("no/events.csv", "there is no folder")]
)
def test_an_output_that_cannot_be_written_is_refused_before_the_brokers_are_asked(
    parsed: Callable[..., argparse.Namespace], tmp_path: Path, name: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        capture.run(parsed("--last", "7d", "--output", str(tmp_path / name)), least_settings())


def test_an_output_that_would_overwrite_settings_or_model_is_refused_before_the_brokers_are_asked(
    parsed: Callable[..., argparse.Namespace], tmp_path: Path
) -> None:
    config, model = tmp_path / "worker.csv", tmp_path / "machine.csv"
    for file in (config, model):
        file.write_text("as it was")
        (tmp_path / "link.csv").unlink(missing_ok=True)
        (tmp_path / "link.csv").symlink_to(file)
        for output in (file, tmp_path / "link.csv"):
            given = parsed("--last", "7d", "--config", str(config), "--output", str(output))
            with pytest.raises(
                ConfigError, match=r"would overwrite the (settings file|model), .*: give another name\."
            ):
                capture.run(given, least_settings(model={"uri": str(model)}))
        assert file.read_text() == "as it was"
