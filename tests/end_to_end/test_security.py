"""Workers that sign in, by TLS too: they need exactly their rights, name the one that is gone, and tell no secret."""

import json
import re
import subprocess
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.end_to_end.conftest import KEY_OPENER, SIGN_IN_WORD
from tests.end_to_end.job import COMMAND, Job
from tests.end_to_end.stream import events
from tests.end_to_end.test_refusals import assert_one_sentence
from tests.rights import RIGHTS, USER, grant, subject, withdraw

CANARIES = (SIGN_IN_WORD, KEY_OPENER)


def command(job: Job, *words: str) -> subprocess.CompletedProcess[str]:
    config = job.folder / "command.yaml"
    config.write_text(job.settings_file)
    return subprocess.run(
        [COMMAND, words[0], "--config", config, *words[1:]], check=False, capture_output=True, text=True, cwd=job.folder
    )


def capture(job: Job) -> subprocess.CompletedProcess[str]:
    return command(job, "capture", "--max-events", "100", "--output", "events.csv", "--no-progress")


# ---- by TLS ----------------------------------------------------------------------------------------------------------


def test_all_commands_work_encrypted_with_exactly_their_rights_and_tell_no_secret(encrypted_job: Job) -> None:
    job = encrypted_job
    job.write(list(islice(events(), 300)))
    grant(job)
    worker = job.start().wait_until_ready()
    job.wait_until_done()
    arguments = Path(f"/proc/{worker.pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    pages = "".join(worker.page(path)[1] for path in ("/livez", "/readyz", "/metrics", "/nowhere"))
    worker.stop()
    assert job.verify().scored > 200

    checked = command(job, "check")
    assert "no right" not in checked.stdout
    assert "transaction" not in checked.stdout
    captured = capture(job)
    assert captured.returncode == 0, captured.stderr
    shown = command(job, "settings")
    assert USER in shown.stdout or "ssl.certificate.location" in shown.stdout

    said = [worker.log, arguments, pages]
    said += [text for done in (checked, captured, shown) for text in (done.stdout, done.stderr)]
    assert [canary for canary in CANARIES for text in said if canary in text] == []


def test_the_debug_log_of_the_library_tells_no_secret(encrypted_job: Job) -> None:
    """What somebody turns on to find a fault, and sends to somebody else."""
    encrypted_job.set({"kafka": {"properties": {"debug": "all", "log_level": 7}}, "log": {"level": "debug"}})
    grant(encrypted_job)
    worker = encrypted_job.start().wait_until_ready()
    worker.stop()
    assert "librdkafka" in worker.log
    assert [canary for canary in CANARIES if canary in worker.log] == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sasl.password": "canary-of-a-wrong-one"}, ["sasl.password"]),
        ({"sasl.mechanism": "SCRAM-SHA-256"}, ["sasl.mechanism"]),
        ({"ssl.ca.location": "ANOTHER"}, ["ssl.ca.location"]),
        ({"ssl.ca.location": "/nowhere/ca.pem"}, ["/nowhere/ca.pem"]),
        ({"security.protocol": "SASL_PLAINTEXT"}, ["security.protocol"]),
    ],
    ids=["password", "mechanism", "authority", "authority's file", "protocol"],
)
@pytest.mark.parametrize("encrypted_job", ["SCRAM"], indirect=True)
def test_a_wrong_way_to_sign_in_is_told(
    encrypted_job: Job, tmp_path: Path, wrong: dict[str, str], words: Sequence[str]
) -> None:
    another = str(Authority(tmp_path / "another").certificate)
    grant(encrypted_job)
    properties = {name: another if value == "ANOTHER" else value for name, value in wrong.items()}
    encrypted_job.set({"kafka": {"properties": properties}})
    worker = encrypted_job.start()
    assert worker.exit_code() in {1, 2}  # 2 where no broker need be asked
    assert_one_sentence(worker, *words)
    assert "canary" not in worker.log


def assert_the_certificate_is_told_of(job: Job) -> None:
    """A broker's alert may be lost with the connection that it ends: there is time for several."""
    job.set({"kafka": {"start_timeout_s": 15}})
    worker = job.start()
    assert worker.exit_code(60) == 1
    assert_one_sentence(worker, "ssl.certificate.location")


@pytest.mark.parametrize("encrypted_job", ["certificate"], indirect=True)
def test_a_certificate_of_another_authority_is_told(encrypted_job: Job, tmp_path: Path) -> None:
    grant(encrypted_job)
    certificate, key = Authority(tmp_path / "another").client(USER, password=KEY_OPENER)
    properties = {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)}
    encrypted_job.set({"kafka": {"properties": properties}})
    assert_the_certificate_is_told_of(encrypted_job)


@pytest.mark.parametrize("encrypted_job", ["certificate"], indirect=True)
def test_a_client_without_a_certificate_is_told(encrypted_job: Job, authority: Authority) -> None:
    grant(encrypted_job)
    encrypted_job.set({"kafka": {"properties": None}})
    properties = {"ssl.ca.location": str(authority.certificate), "security.protocol": "SSL"}
    encrypted_job.set({"kafka": {"properties": properties}})
    assert_the_certificate_is_told_of(encrypted_job)


@pytest.mark.parametrize("encrypted_job", ["certificate"], indirect=True)
def test_a_key_that_its_password_does_not_open_is_told(encrypted_job: Job) -> None:
    encrypted_job.set({"kafka": {"properties": {"ssl.key.password": "canary-of-a-wrong-one"}}})
    worker = encrypted_job.start()
    assert worker.exit_code() == 2
    assert_one_sentence(worker, "ssl.key.location")
    assert "canary" not in worker.log


# ---- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delivery", "right"),
    [
        *(("exactly-once", right) for right in RIGHTS),
        ("at-least-once", "write scores"),
        ("at-least-once", "read group"),
    ],
)
def test_a_right_withdrawn_at_work_ends_the_worker_and_loses_nothing(
    guarded_job: Job, delivery: str, right: str
) -> None:
    job = guarded_job
    job.set({"delivery": delivery})
    grant(job, [one for one in RIGHTS if delivery == "exactly-once" or one != "write transactional id"])
    stream = events()
    job.write(list(islice(stream, 200)))
    worker = job.start().wait_until_ready()
    worker.wait_until_scored(100)
    withdraw(job, [right])
    for _ in range(20):
        if worker.ended is None:
            job.write(list(islice(stream, 50)))
    assert worker.exit_code() == 1, worker.log
    assert_one_sentence(worker, right.partition(" ")[0], subject(job, right))
    grant(job, [right])
    again = job.start()
    job.wait_until_done()
    again.stop()
    assert job.verify().scored > 200


@pytest.mark.parametrize("granted", ["nothing", "write input"])
def test_capture_names_the_one_right_that_it_needs(guarded_job: Job, granted: str) -> None:
    job = guarded_job
    job.write(list(islice(events(), 50)))
    if granted != "nothing":  # Write implies Describe: the topic is seen, and may not be read
        grant(job, [granted])
    refused = capture(job)
    assert refused.returncode == 1
    assert re.search(rf"{job.inputs[0]}.*grant Read", refused.stderr), refused.stderr
    grant(job, ["read input"])
    captured = capture(job)
    assert captured.returncode == 0, captured.stderr


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_what_the_environment_holds_is_told_nowhere(guarded_job: Job) -> None:
    """A password by variable, and one by file: neither their values nor what was made of them come out."""
    job = guarded_job
    secret = job.folder / "secret"
    secret.write_text(f"{SIGN_IN_WORD}\n")
    job.set({"kafka": {"properties": {"sasl.password": f"${{file:{secret}}}"}}})
    job.set({"model": {"uri": "${env:MODEL_WITH_CANARY}"}})
    grant(job)
    job.write(list(islice(events(), 50)))
    worker = job.start(MODEL_WITH_CANARY=str(job.model), ANOMALY_WORKER_KAFKA__PRODUCER='{"ssl.key.password":"canary"}')
    worker.wait_until_ready()
    job.wait_until_done()
    worker.stop()
    assert SIGN_IN_WORD not in worker.log
    assert "canary" not in json.dumps(worker.log)
