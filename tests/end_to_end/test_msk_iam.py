"""Workers that sign in as to Amazon MSK, on a real broker: by tokens that expire, with every client that they open.

MSK itself is not to be had: the broker takes JSON Web Tokens, and a stand-in for AWS's signer makes them. What the
signer itself makes is held to AWS's description in `tests/worker/test_msk_iam.py`.
"""

import time
from itertools import islice
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.certificates import Authority
from tests.end_to_end.job import Job
from tests.end_to_end.stream import events
from tests.end_to_end.test_refusals import assert_one_sentence
from tests.end_to_end.test_security import capture, command
from tests.end_to_end.tokens import Tokens
from tests.rights import USER, grant

LIFE_S = 6.0


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """Those of every process that the test starts."""
    made = Tokens(tmp_path, user=USER)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def msk_job(guarded_job: Job, guarded: Broker, authority: Authority, tokens: Tokens) -> Job:
    """A job whose worker signs in by tokens, and has its rights."""
    job = guarded_job
    job.set({"kafka": {"bootstrap_servers": guarded.oauth_bootstrap, "properties": None}})
    job.set({"kafka": {"msk_iam_region": "eu-west-1", "properties": {"ssl.ca.location": str(authority.certificate)}}})
    grant(job)
    return job


def test_all_commands_sign_in_and_tell_no_token(msk_job: Job, tokens: Tokens) -> None:
    job = msk_job
    job.set({"kafka": {"properties": {"debug": "all", "log_level": 7}}, "log": {"level": "debug"}})
    job.write(list(islice(events(), 300)))
    worker = job.start().wait_until_ready()
    job.wait_until_done()
    worker.stop()
    assert job.verify().scored > 200

    checked, captured, shown = command(job, "check"), capture(job), command(job, "settings")
    assert "no right" not in checked.stdout
    assert "transaction" not in checked.stdout
    assert captured.returncode == 0, captured.stderr
    assert "msk_iam_region: eu-west-1" in shown.stdout

    said = worker.log + "".join(done.stdout + done.stderr for done in (checked, captured, shown))
    assert "librdkafka" in said
    assert tokens.made
    assert [token for token in [*tokens.made, "canary"] if token in said] == []


def test_work_goes_on_long_after_the_first_token_and_the_first_producer(msk_job: Job, tokens: Tokens) -> None:
    job = msk_job
    tokens.are(life_s=LIFE_S)
    # It hangs with a transaction open, until the brokers have ended that; the group waits for it.
    job.set({"kafka": {"producer": {"transaction.timeout.ms": 1000}, "consumer": {"session.timeout.ms": 30_000}}})
    stream = events()
    worker = job.start(ANOMALY_WORKER_FAILPOINTS="mid_produce:stop=4:1")
    worker.wait_until_ready()
    until_s = time.monotonic() + 4 * LIFE_S
    while time.monotonic() < until_s:
        job.write(list(islice(stream, 20)))
        time.sleep(0.5)
    job.wait_until_done()
    assert worker.metric("anomaly_worker_transactions_total", outcome="lost") >= 1
    worker.stop()
    assert job.verify().scored > 200
    assert len(set(tokens.made)) > 8  # three or four clients, each with four at least
    assert "AWS gave no token" not in worker.log


def test_where_aws_gives_no_more_tokens_the_worker_says_why_and_waits(msk_job: Job, tokens: Tokens) -> None:
    job = msk_job
    tokens.are(life_s=LIFE_S)
    stream = events()
    job.write(list(islice(stream, 100)))
    worker = job.start().wait_until_ready()
    worker.wait_until_scored(50)
    tokens.are(away=True)
    reason = 'AWS gave no token for Amazon MSK (kafka.msk_iam_region): Could not connect to the endpoint URL: \\"https'
    worker.wait_until(lambda: reason in worker.log, "it says why", 2 * LIFE_S)
    time.sleep(LIFE_S)  # every token is over
    job.write(list(islice(stream, 100)))
    time.sleep(1)
    assert worker.ended is None
    tokens.are(away=False)
    job.wait_until_done()
    worker.stop()
    assert job.verify().scored > 100


def test_where_aws_gives_none_at_the_start_the_worker_ends_and_says_why(msk_job: Job, tokens: Tokens) -> None:
    tokens.are(away=True)
    worker = msk_job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, "AWS gave no token", "https://sts.eu-west-1.amazonaws.com/", "service account")
    assert "canary" not in worker.log


def test_an_identity_that_brokers_refuse_is_told(msk_job: Job, tokens: Tokens) -> None:
    tokens.are(user="")
    worker = msk_job.start()
    assert worker.exit_code() == 1
    assert_one_sentence(worker, "kafka.msk_iam_region", "kafka-cluster:Connect")
    assert [token for token in tokens.made if token in worker.log] == []
