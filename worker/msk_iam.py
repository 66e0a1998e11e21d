"""How clients sign in to Amazon MSK by an identity of AWS: a region goes in, tokens come out. It knows no Kafka client.

The identity is found where AWS's own programs look: variables, files, what EKS gives to a pod, the role of the machine.
A token is a request to connect, signed by it; it names no cluster, and lives 15 minutes.
https://github.com/aws/aws-msk-iam-sasl-signer-python
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from worker.errors import BrokerError, ConfigError, clause

log = logging.getLogger(__name__)

Token: TypeAlias = tuple[str, float]
"""As librdkafka takes it: the text, and when it expires, in seconds since 1970."""

_CALL_TIMEOUT_S = 5
_MOST_CALLS = 2
"""By its own defaults AWS's library asks five times, for a minute each."""


class MskIam:
    """Tokens for any number of clients: librdkafka calls this when one wants another, in a thread of its own."""

    def __init__(self, sign: Callable[[], Token], *, clock: Callable[[], float] = time.time) -> None:
        self._sign = sign
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._token: Token = ("", 0.0)
        self._fresh_until_s = 0.0

    def __call__(self, _config: object) -> Token:
        """The client's `oauth_cb`.

        What it raises is told to nobody: the client goes on with the token that it has, and asks again in ten seconds.
        """
        try:
            return self.token()
        except BrokerError as error:
            log.warning("%s", error)
            raise

    def token(self) -> Token:
        """One that is good for half of its life at least. Raises BrokerError where AWS gives none."""
        with self._one_at_a_time:
            now_s = self._clock()
            if now_s >= self._fresh_until_s:
                self._token = self._sign()
                self._fresh_until_s = now_s + (self._token[1] - now_s) / 2
            return self._token


def signer(region: str) -> Callable[[], Token]:
    """What makes a token for the clusters of a region. Raises ConfigError where the packages are missing."""
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - an extra
        from botocore.config import Config  # noqa: PLC0415
        from botocore.credentials import CredentialProvider, Credentials  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "kafka.msk_iam_region needs the extra `msk-iam`: pip install 'anomaly-worker[msk-iam]'; an image that was"
            " built with --build-arg EXTRA=msk-iam has it."
        ) from error

    # At DEBUG it writes what it signs and what it is answered: keys and tokens.
    logging.getLogger("botocore").setLevel(logging.INFO)
    # One for all tokens: it renews credentials that expire.
    session = Session()
    session.set_default_client_config(
        Config(
            connect_timeout=_CALL_TIMEOUT_S,
            read_timeout=_CALL_TIMEOUT_S,
            retries={"total_max_attempts": _MOST_CALLS},
        )
    )
    if session.get_config_variable("region") is None:
        session.set_config_variable("region", region)

    class Found(CredentialProvider):  # type: ignore[misc]  # botocore has no types
        """The session's."""

        def load(self) -> Credentials:
            found = session.get_credentials()
            if found is None:
                raise NoCredentialsError
            return found

    def sign() -> Token:
        try:
            text, expires_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region, Found())
        except (BotoCoreError, ClientError, OSError) as error:
            raise BrokerError(_failed(clause(error).rstrip("."))) from error
        except Exception as error:  # what it makes of an answer that is none may hold what was answered
            raise BrokerError(_failed(f"its library failed ({type(error).__name__})")) from error
        return text, expires_ms / 1000

    return sign


def _failed(reason: str) -> str:
    return (
        f"AWS gave no token for Amazon MSK (kafka.msk_iam_region): {reason}; check that the worker has an identity of"
        " AWS, such as a role of its service account."
    )
