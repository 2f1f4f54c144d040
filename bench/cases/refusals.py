"""What a stranger could measure: how long a refusal takes, by its reason; in turns, so that the machine is the same."""

from __future__ import annotations

import http.client
import random
import time
from collections import defaultdict
from urllib.parse import urlsplit

from tests.support.stack import Stack

from bench.measure import in_ms, row, stack

_CALLS = 500


def main() -> None:
    """One row for each kind of key that opens nothing, and for each kind of object that is not there."""
    with stack() as made:
        keys, paths = _keys(made), _paths(made)
        right = str(made.found["environments"]["dev"]["secret_key"])
        asked = [(f"key {kind}", "/api/v1/runs", key, 401) for kind, key in keys.items()]
        asked += [(f"a run {kind}", path, right, 404) for kind, path in paths.items()]
        spent: dict[str, list[float]] = defaultdict(list)
        with _Connection(made) as connection:
            for place in range(_CALLS * len(asked)):
                if place % len(asked) == 0:
                    random.shuffle(asked)
                kind, path, key, status = asked[place % len(asked)]
                spent[kind] += [connection.get(path, key, status)]
        for kind in sorted(spent):
            row(f"refused: {kind}", **in_ms(spent[kind]), calls=len(spent[kind]))


def _keys(of: Stack) -> dict[str, str]:
    """A key of each kind that opens nothing."""
    client = of.client()
    revoked = client.request("POST", "/api/v1/keys", {})
    client.request("POST", f"/api/v1/keys/{revoked['id']}/revoke", {})
    expired = client.request("POST", "/api/v1/keys", {"expires": "1s"})
    time.sleep(1.1)
    right = str(of.found["environments"]["dev"]["secret_key"])
    prefix, _, rest = right.rpartition("_")
    return {
        "unknown": f"{prefix}_{'x' * len(rest)}",
        "revoked": revoked["key"],
        "expired": expired["key"],
        "of a wrong prefix": f"tr_prod_{rest}",
        "right but for its last character": right[:-1] + ("A" if right[-1] != "A" else "B"),
    }


def _paths(of: Stack) -> dict[str, str]:
    """A run of another environment, and one that nobody has."""
    theirs = of.client("prod").trigger("nothing", 0)["id"]
    return {"of another environment": f"/api/v3/runs/{theirs}", "of nobody": f"/api/v3/runs/run_{'0' * 26}"}


class _Connection:
    """One connection that is kept."""

    def __init__(self, of: Stack):
        address = urlsplit(of.found["api_url"])
        self._http = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=30)

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def get(self, path: str, key: str, status: int) -> float:
        """Seconds until the answer was there."""
        begun = time.perf_counter()
        self._http.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answer = self._http.getresponse()
        answer.read()
        spent = time.perf_counter() - begun
        assert answer.status == status, (path, answer.status)
        return spent
