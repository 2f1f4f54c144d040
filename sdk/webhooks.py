"""Messages that the platform sends to webhooks: signed as Standard Webhooks says, and checked by whoever receives them."""

from __future__ import annotations

from sojourn.sdk.errors import WebhookVerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PREFIX = "whsec_"
_VERSION = "v1"
#: Seconds that a message's clock and the receiver's may be apart; one that is older may be sent again by a stranger.
TOLERANCE = 300.0


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret, so that one may replace the other."""
    return " ".join(f"{_VERSION},{_signature(secret, message_id, timestamp, body)}" for secret in secrets)


class Webhooks:
    """The functions of `sojourn.webhooks`."""

    def verify(
        self, body: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str], *, now: float | None = None
    ) -> dict[str, Any]:
        """The message: `{type, timestamp, data: {run}}`. `WebhookVerificationError` if it is not the platform's, or is old.

        `body` just as it arrived; names of `headers` in any case; `secret` begins with `whsec_`, several may be given;
        `now` in seconds since the epoch. The header `webhook-id` is the same for each time that a message is sent.
        """
        import hmac
        import json

        data = body.encode() if isinstance(body, str) else body
        given = {str(name).lower(): value for name, value in headers.items()}
        message_id, timestamp, signatures = (_header(given, name) for name in ("id", "timestamp", "signature"))
        _check_age(timestamp, now)
        secrets = [secret] if isinstance(secret, str) else secret
        expected = [_signature(each, message_id, int(timestamp), data) for each in secrets]
        found = [text.partition(",")[2] for text in signatures.split() if text.startswith(f"{_VERSION},")]
        if not any(hmac.compare_digest(a.encode(), b.encode()) for a in expected for b in found):
            raise WebhookVerificationError("no signature is one of this secret's: was the body changed on its way?")
        message: dict[str, Any] = json.loads(data)
        return message


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    import hmac
    from base64 import b64decode, b64encode

    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise WebhookVerificationError(f"the secret is none: it begins with {PREFIX}, and base 64 follows") from None
    return b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")).decode()


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(f"webhook-{name}")
    if not value:
        raise WebhookVerificationError(f"the header webhook-{name} is missing")
    return value


def _check_age(timestamp: str, now: float | None) -> None:
    import time

    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise WebhookVerificationError("the header webhook-timestamp is no number of seconds")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise WebhookVerificationError("the message was signed too long ago, or the clocks differ")


webhooks = Webhooks()
