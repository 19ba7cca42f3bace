"""What a program needs in its environment to talk to the service as if to the providers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

__all__ = ["write_service_account"]


def write_service_account(path: Path, token_url: str, *, project: str) -> str:
    """A key file of Google's form whose tokens come from `token_url`; gives its private key."""
    record = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "0123456789abcdef",
        "private_key": _private_key(),
        "client_email": f"tests@{project}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_url,
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    path.chmod(0o600)
    return _private_key()


@cache
def _private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
