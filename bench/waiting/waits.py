"""What the runs of the benchmarks of waiting do."""

import hashlib
import time

from sojourn import Retry, task, wait

ONCE = Retry(max_attempts=1)


@task(retry=ONCE)
def approves(payload):
    """Works something out, waits for a token, and returns what its variables hold then, and when."""
    number = payload["n"]
    digest = hashlib.sha256(f"run {number}".encode()).hexdigest()
    squares = [n * n for n in range(number, number + 1_000)]
    last_line = time.time()
    answer = wait.for_token(payload["token"])
    moments = {"last_line": last_line, "first_line": time.time()}
    return {"n": number, "digest": digest, "sum": sum(squares), "answer": answer.output, **moments}
