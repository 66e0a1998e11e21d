"""Jobs for the tests of whole worker processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.certificates import Authority
from tests.end_to_end.job import Job
from tests.rights import USER
from tests.topics import Topics

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[MakeJob]:
    """Makes jobs on a cluster; their processes and topics are gone when the test is over."""
    jobs: list[Job] = []

    def make(bootstrap: str, **about: object) -> Job:
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        jobs.append(Job(Topics(bootstrap), folder, **about))
        return jobs[-1]

    yield make
    for job in jobs:
        job.end()
    for job in jobs:
        job.topics.delete_all()


@pytest.fixture
def job(make_job: MakeJob, bootstrap: str) -> Job:
    """A job with four input and four output partitions on the shared broker."""
    return make_job(bootstrap)


SIGN_IN_WORD = "canary-of-the-sign-in"
KEY_OPENER = "canary-of-the-key"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of broker and worker."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def guarded(authority: Authority) -> Iterator[Broker]:
    """A broker with ACLs, where the worker's user signs in by password, by SCRAM over TLS, or by a certificate."""
    with Broker(users={USER: SIGN_IN_WORD}, authority=authority) as started:
        yield started


@pytest.fixture
def guarded_job(make_job: MakeJob, guarded: Broker) -> Job:
    """A job whose worker signs in, and has no right yet."""
    job = make_job(guarded.bootstrap, partitions=(1,), out=1)
    signed_in = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": SIGN_IN_WORD,
    }
    job.set({"kafka": {"bootstrap_servers": guarded.sasl_bootstrap, "properties": signed_in, "start_timeout_s": 5}})
    job.set({"kafka": {"transactional_id": f"{job.group}-0"}})
    return job


@pytest.fixture(params=["SCRAM", "certificate"])
def encrypted_job(request: pytest.FixtureRequest, guarded_job: Job, guarded: Broker, authority: Authority) -> Job:
    """The same by TLS: with a password of SCRAM, or with a certificate and a key that a password opens."""
    ca = {"ssl.ca.location": str(authority.certificate)}
    if request.param == "SCRAM":
        about = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
        guarded_job.set({"kafka": {"bootstrap_servers": guarded.scram_bootstrap, "properties": ca | about}})
    else:
        certificate, key = authority.client(USER, password=KEY_OPENER)
        about = {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)}
        secret = {"security.protocol": "SSL", "ssl.key.password": KEY_OPENER}
        guarded_job.set({"kafka": {"bootstrap_servers": guarded.tls_bootstrap, "properties": ca | about | secret}})
    return guarded_job
