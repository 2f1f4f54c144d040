"""What executors prove themselves with: signed texts, so that no look-up is needed.

An executor's credential says which lane it serves and outlives its runs. A run's token is good for that run alone,
and only as long as the run's snapshot says so: the store compares it with every call.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from hashlib import sha256

from sojourn.control_plane.domain.regions import DEFAULT
from sojourn.control_plane.engine.errors import CredentialRefused


@dataclass(frozen=True, slots=True)
class ExecutorIdentity:
    """Who an executor is. `version` is a version's id. Credentials from before regions name none."""

    executor: str
    organization: str
    environment: str
    version: str
    machine: str
    region: str = DEFAULT


class Credentials:
    """Signs and checks both kinds with one key, which is derived for this purpose from the master key."""

    def __init__(self, key: bytes):
        self._key = key

    def for_executor(self, identity: ExecutorIdentity) -> str:
        """An executor's credential."""
        body = urlsafe_b64encode(json.dumps(asdict(identity), separators=(",", ":")).encode()).decode()
        return f"{body}.{self._sign('executor', body)}"

    def executor(self, credential: str) -> ExecutorIdentity:
        """Who holds a credential; `CredentialRefused` if it was not signed here."""
        body, _, signature = credential.partition(".")
        if not _same(signature, self._sign("executor", body)):
            raise CredentialRefused
        return ExecutorIdentity(**json.loads(urlsafe_b64decode(body)))

    def for_run(self, run_id: str, executor: str) -> str:
        """The token of a run that an executor was given."""
        return self._sign("run", f"{run_id}:{executor}")

    def check_run(self, token: str, run_id: str, executor: str) -> None:
        """`CredentialRefused` unless the token is that run's and that executor's."""
        if not _same(token, self.for_run(run_id, executor)):
            raise CredentialRefused("the token is not this run's")

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())
