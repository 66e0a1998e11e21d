"""In place of AWS's signer within a test's workers: tokens that Apache Kafka takes (unsecured JSON Web Tokens).

A file says what they are, read anew for each; another one keeps all that were made. See `tests.end_to_end.tokens`.
"""  # noqa: N999 - the signer's own name

import base64
import json
import os
import time
from pathlib import Path

from botocore.credentials import CredentialProvider
from botocore.exceptions import EndpointConnectionError


def generate_auth_token_from_credentials_provider(region: str, provider: CredentialProvider) -> tuple[str, int]:
    """As the signer does it: the token, and when it expires, in milliseconds."""
    folder = Path(os.environ["TOKENS"])
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    provider.load()
    if told["away"]:
        raise EndpointConnectionError(endpoint_url=f"https://sts.{region}.amazonaws.com/")
    now_s = time.time()
    claims = {"sub": told["user"], "iat": now_s - 1, "exp": now_s + told["life_s"]}
    token = f"{_part({'alg': 'none'})}.{_part(claims)}."
    with (folder / "made").open("a", encoding="utf-8") as made:
        made.write(f"{token}\n")
    return token, int(1000 * claims["exp"])


def _part(claims: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
