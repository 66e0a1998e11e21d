"""Tokens for Amazon MSK: what AWS's signer makes of what it finds, how often it is asked, and what is told of failures.

MSK itself is not to be had: the signature is held to AWS's own description of it, computed here anew.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import base64
import hashlib
import hmac
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from tests.http_server import Handler, serving
from tests.least_settings import least_settings
from worker.errors import BrokerError, ConfigError, ExitCode
from worker.kafka_clients import BrokerComplaint, client, consumer_properties
from worker.msk_iam import MskIam, Token, signer

REGION = "eu-west-1"
KEY_ID, KEY, SESSION = "AKIDEXAMPLE", "canary-of-the-key", "canary-of-the-session"
WEB_TOKEN = "canary-of-the-web-identity"  # noqa: S105 - no secret
TOKEN_AT = 1_800_000_000.0


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No identity is found but what a test gives."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)


# ---- what a token is -------------------------------------------------------------------------------------------------


def request_in(token: str) -> tuple[str, dict[str, str]]:
    """The address without its query, and the query."""
    assert re.fullmatch("[A-Za-z0-9_-]+", token)  # base64url, without padding
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    return f"{url.scheme}://{url.netloc}{url.path}", dict(parse_qsl(url.query, strict_parsing=True))


def signature(host: str, query: Mapping[str, str], key: str) -> str:
    """What AWS computes of such a request (SigV4, all in the query)."""
    signed = {name: value for name, value in query.items() if name not in {"X-Amz-Signature", "User-Agent"}}
    canonical = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(signed.items()))
    nothing = hashlib.sha256(b"").hexdigest()
    request = "\n".join(["GET", "/", canonical, f"host:{host}", "", "host", nothing])
    scope = query["X-Amz-Credential"].partition("/")[2]
    to_sign = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()])
    derived = f"AWS4{key}".encode()
    for part in (*scope.split("/"), to_sign):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    return derived.hex()


def assert_good(token: Token, *, region: str = REGION, key: str = KEY) -> dict[str, str]:
    """Hold it to what MSK takes; the query."""
    text, expires_s = token
    address, query = request_in(text)
    host = f"kafka.{region}.amazonaws.com"
    assert address == f"https://{host}/"
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"].split("/")[2:] == [region, "kafka-cluster", "aws4_request"]
    assert query["X-Amz-Signature"] == signature(host, query, key)
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(made - datetime.now(UTC)) < timedelta(minutes=1)
    assert expires_s == made.timestamp() + 900
    return query


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("region", [REGION, "us-gov-west-1"])
def test_a_token_is_a_request_to_connect_signed_by_the_identity(region: str) -> None:
    query = assert_good(signer(region)(), region=region)
    assert query["X-Amz-Credential"].startswith(f"{KEY_ID}/")
    assert "X-Amz-Security-Token" not in query


@pytest.mark.usefixtures("identity")
def test_a_temporary_identity_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    assert assert_good(signer(REGION)())["X-Amz-Security-Token"] == SESSION


@pytest.mark.usefixtures("identity")
def test_another_key_makes_another_signature() -> None:
    with pytest.raises(AssertionError):
        assert_good(signer(REGION)(), key="another")


# ---- where the identity comes from -----------------------------------------------------------------------------------


class Aws:
    """STS, and the agent of EKS Pod Identity, as far as they are asked: one answer to all, and what was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.status, self.answer = 200, ""
        self.asked: list[str] = []

    def gives_a_role(self, *, as_json: bool) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if as_json:
            told = {"AccessKeyId": KEY_ID, "SecretAccessKey": KEY, "Token": SESSION, "Expiration": until}
            self.answer = json.dumps(told)
        else:
            self.answer = (
                '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{KEY_ID}</AccessKeyId>"
                f"<SecretAccessKey>{KEY}</SecretAccessKey><SessionToken>{SESSION}</SessionToken>"
                f"<Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                "</AssumeRoleWithWebIdentityResponse>"
            )

    def refuses(self) -> None:
        self.status = 403
        self.answer = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            "<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>"
            "</Error></ErrorResponse>"
        )


@pytest.fixture
def aws() -> Iterator[Aws]:
    class Answering(Handler):
        def do_GET(self) -> None:
            there.asked.append(str(self.headers["Authorization"]))
            self._answer()

        def do_POST(self) -> None:
            there.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer()

        def _answer(self) -> None:
            self.send_response(there.status)
            self.send_header("Content-Length", str(len(there.answer)))
            self.end_headers()
            self.wfile.write(there.answer.encode())

    with serving(Answering) as port:
        there = Aws(f"http://127.0.0.1:{port}")
        yield there


@pytest.fixture
def irsa(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aws: Aws) -> Aws:
    """What EKS gives to a pod whose service account names a role."""
    projected = tmp_path / "token"
    projected.write_text(WEB_TOKEN, encoding="utf-8")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(projected))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.address)
    return aws


@pytest.fixture
def pod_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aws: Aws) -> Aws:
    """What EKS gives to a pod whose service account is associated with a role."""
    projected = tmp_path / "token"
    projected.write_text(WEB_TOKEN, encoding="utf-8")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.address}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(projected))
    return aws


def test_the_role_of_a_service_account_signs_and_is_asked_for_once(irsa: Aws) -> None:
    irsa.gives_a_role(as_json=False)
    sign = signer(REGION)
    assert [assert_good(sign())["X-Amz-Security-Token"] for _ in range(3)] == [SESSION] * 3
    (asked,) = irsa.asked
    assert "Action=AssumeRoleWithWebIdentity" in asked
    assert WEB_TOKEN in asked


def test_the_role_of_eks_pod_identity_signs(pod_identity: Aws) -> None:
    pod_identity.gives_a_role(as_json=True)
    assert assert_good(signer(REGION)())["X-Amz-Security-Token"] == SESSION
    assert pod_identity.asked == [WEB_TOKEN]


# ---- how often it is asked -------------------------------------------------------------------------------------------


class Signatures:
    """A clock, and tokens that live for 900 s."""

    def __init__(self) -> None:
        self.now_s = TOKEN_AT
        self.made = 0

    def clock(self) -> float:
        return self.now_s

    def sign(self) -> Token:
        self.made += 1
        return f"token-{self.made}", self.now_s + 900


def test_a_token_serves_every_client_until_half_of_its_life_is_over() -> None:
    signatures = Signatures()
    tokens = MskIam(signatures.sign, clock=signatures.clock)
    seen = []
    for after_s in (0, 1, 449, 1, 449, 720):
        signatures.now_s += after_s
        seen.append(tokens(None)[0])
    assert seen == ["token-1", "token-1", "token-2", "token-2", "token-3", "token-4"]


def test_clients_that_ask_at_once_make_one_token() -> None:
    signatures = Signatures()
    tokens = MskIam(lambda: (time.sleep(0.05), signatures.sign())[1], clock=signatures.clock)
    with ThreadPoolExecutor(8) as pool:
        assert {text for text, _ in pool.map(tokens, range(8))} == {"token-1"}


# ---- what is told of failures ----------------------------------------------------------------------------------------


def told(caplog: pytest.LogCaptureFixture) -> str:
    """The sentence; neither it nor the log, at its most talkative, holds a secret."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BrokerError) as caught:
        MskIam(signer(REGION)).token()
    assert caught.value.exit_code == ExitCode.FAILED
    assert re.fullmatch(r"AWS gave no token for Amazon MSK \(kafka\.msk_iam_region\): [^\n]+\.", str(caught.value))
    assert "canary" not in str(caught.value) + caplog.text
    return str(caught.value)


def test_no_identity_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert "Unable to locate credentials" in told(caplog)


def test_half_an_identity_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert "missing: AWS_SECRET_ACCESS_KEY" in told(caplog)


def test_a_role_that_is_refused_is_told(caplog: pytest.LogCaptureFixture, irsa: Aws) -> None:
    irsa.refuses()
    assert "AccessDenied" in told(caplog)


def test_a_token_file_that_is_not_there_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, irsa: Aws
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    assert "/nowhere/token" in told(caplog)
    assert irsa.asked == []


def test_a_service_that_is_away_is_told_and_not_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, irsa: Aws
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    began_s = time.monotonic()
    assert "http://127.0.0.1:1" in told(caplog)
    assert time.monotonic() - began_s < 10
    assert irsa.asked == []


def test_an_answer_that_is_none_is_not_repeated(caplog: pytest.LogCaptureFixture, pod_identity: Aws) -> None:
    pod_identity.answer = f"SecretAccessKey={KEY}"
    assert "Unable to parse" in told(caplog)


def test_half_an_answer_is_told(caplog: pytest.LogCaptureFixture, pod_identity: Aws) -> None:
    pod_identity.answer = json.dumps({"Token": SESSION, "Expiration": "canary"})
    assert "its library failed (" in told(caplog)


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_written_at_debug_holds_no_secret(
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
    as_json: bool,  # noqa: FBT001
) -> None:
    caplog.set_level(logging.DEBUG)
    request.getfixturevalue("pod_identity" if as_json else "irsa").gives_a_role(as_json=as_json)
    text, _ = signer(REGION)()
    assert "canary" not in caplog.text
    assert text not in caplog.text
    assert request_in(text)[1]["X-Amz-Signature"] not in caplog.text


def test_a_client_that_gets_no_other_token_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """What its callback raises, librdkafka tells nobody."""
    with pytest.raises(BrokerError):
        MskIam(signer(REGION))(None)
    (line,) = (record for record in caplog.records if record.name == "worker.msk_iam")
    assert line.levelname == "WARNING"
    assert "Unable to locate credentials" in line.message


def test_the_missing_extra_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(ConfigError, match=r"'anomaly-worker\[msk-iam\]'.*EXTRA=msk-iam"):
        signer(REGION)


# ---- with the clients ------------------------------------------------------------------------------------------------


def properties() -> dict[str, object]:
    settings = least_settings()
    kafka = settings.kafka.model_copy(update={"msk_iam_region": REGION, "bootstrap_servers": "127.0.0.1:1"})
    return {**consumer_properties(settings.model_copy(update={"kafka": kafka}), BrokerComplaint())}


@pytest.mark.parametrize("kind", [Consumer, Producer, AdminClient])
def test_a_client_without_a_token_is_told_at_once(kind: type) -> None:
    began_s = time.monotonic()
    with pytest.raises(BrokerError, match="Unable to locate credentials"):
        client(kind, properties())
    assert time.monotonic() - began_s < 5  # the library would wait for ten


@pytest.mark.usefixtures("identity")
def test_librdkafka_takes_the_token() -> None:
    client(Consumer, properties()).close()
