"""Messages to webhooks are signed as Standard Webhooks says, and only those are taken."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn import WebhookVerificationError, webhooks
from sojourn.sdk.webhooks import sign

#: The example that the specification's own libraries are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY, AT = b'{"test": 2432232314}', 1_614_265_330
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
OTHER = "whsec_" + "AAAA" * 8


def test_the_specifications_example() -> None:
    assert sign([SECRET], HEADERS["webhook-id"], AT, BODY) == HEADERS["webhook-signature"]
    assert webhooks.verify(BODY, HEADERS, SECRET, now=AT) == {"test": 2432232314}


def test_names_of_headers_in_any_case_and_a_body_as_text() -> None:
    headers = {name.title(): value for name, value in HEADERS.items()}
    assert webhooks.verify(BODY.decode(), headers, SECRET, now=AT + 299)


def test_one_of_several_signatures_and_of_several_secrets_is_enough() -> None:
    both = sign([OTHER, SECRET], HEADERS["webhook-id"], AT, BODY)
    assert webhooks.verify(BODY, {**HEADERS, "webhook-signature": both}, SECRET, now=AT)
    assert webhooks.verify(BODY, HEADERS, [OTHER, SECRET], now=AT)


@pytest.mark.parametrize(
    ("change", "body", "secret", "now"),
    [
        ({}, BODY + b" ", SECRET, AT),
        ({}, BODY, OTHER, AT),
        ({}, BODY, "whsec_!", AT),
        ({}, BODY, SECRET, AT + 301),
        ({}, BODY, SECRET, AT - 301),
        ({"webhook-id": "msg_other"}, BODY, SECRET, AT),
        ({"webhook-id": ""}, BODY, SECRET, AT),
        ({"webhook-timestamp": str(AT + 1)}, BODY, SECRET, AT),
        ({"webhook-timestamp": "-1"}, BODY, SECRET, AT),
        ({"webhook-timestamp": "9" * 400}, BODY, SECRET, AT),
        ({"webhook-timestamp": "²"}, BODY, SECRET, AT),
        ({"webhook-signature": "v1,"}, BODY, SECRET, AT),
        ({"webhook-signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, BODY, SECRET, AT),
        ({"webhook-signature": "v1,é"}, BODY, SECRET, AT),
    ],
)
def test_everything_else_is_refused(change: dict[str, str], body: bytes, secret: str, now: float) -> None:
    with pytest.raises(WebhookVerificationError):
        webhooks.verify(body, {**HEADERS, **change}, secret, now=now)


def test_no_secret_is_in_an_error() -> None:
    with pytest.raises(WebhookVerificationError) as refused:
        webhooks.verify(BODY, HEADERS, OTHER, now=AT)
    told: Any = refused.value
    assert OTHER not in str(told) and told.code == "WEBHOOK_VERIFICATION_ERROR"
