"""What the benchmark's runs do: take the clock, send it by UDP."""

import socket
import time

from sojourn import Retry, task


@task(retry=Retry(max_attempts=1))
def job(payload):
    now = time.time()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(f"{payload['tag']} {now!r}".encode(), ("127.0.0.1", payload["port"]))
    return now


@task(retry=Retry(max_attempts=1))
def nothing(payload):
    return None


@task(retry=Retry(max_attempts=1))
def cold(payload):
    now = time.time()  # in a sandbox no local port is to be had: the result brings it
    time.sleep(payload["seconds"])
    return now
