"""Sojourn in the peers' harness: copied beside its adapters by `peers.py`, loaded by the harness's own interpreter."""

import json
import os
import shutil
import subprocess

import harness  # type: ignore[import-not-found]  # it lies beside the peers

from sojourn.sdk.client import Client as Sdk

_JOBS = """
import os

from sojourn import Retry, task

@task(retry=Retry(max_attempts=1))
def job(payload):
    os.environ["BENCH_UDP"] = payload["port"]
    import usercode
    return usercode.first_line(payload["tag"])
"""


class Client:
    """The SDK's client, as an application has it."""

    def __init__(self):
        self._sdk = Sdk(os.environ["BENCH_SOJOURN_URL"], os.environ["BENCH_SOJOURN_KEY"])

    def trigger(self, task, tag, arg=None):
        options = {}
        if task == "wait":
            tag = f"{tag}.r"
            options["delay"] = _iso(arg)
        return self._sdk.trigger("job", {"tag": tag, "port": os.environ["BENCH_UDP"]}, options)["id"]

    def wait(self, handle, timeout):
        return self._sdk.result(handle, wait=timeout)

    def close(self):
        return


class Adapter(harness.Peer):
    """The whole stack of `sojourn up`, with two places for executors; a fresh one for each case."""

    name = "sojourn"
    slots = "2 executors, each one run at a time in a process of the user's code"
    durability = "PostgreSQL commit (fsync) before the answer; Redis is an index without a disk"
    notes = "over HTTP to gunicorn (2 gevent workers); waiting = a delayed run, held in PostgreSQL"

    def setup(self):
        self._count = 0
        self._found = {}
        self._data_dir = ""
        self._project = os.path.join(self.run_dir, "project")
        os.makedirs(self._project)
        shutil.copy(os.path.join(harness.HERE, "usercode.py"), self._project)
        with open(os.path.join(self._project, "jobs.py"), "w") as file:
            file.write(_JOBS)
        self.reset()

    def reset(self):
        self.close()
        self._count += 1
        self._data_dir = os.path.join(self.run_dir, f"sojourn{self._count}")
        port = str(harness.free_port())
        self._found = json.loads(self._sojourn("up", "--detach", "--json", "--port", port))
        os.environ["BENCH_SOJOURN_URL"] = self._found["api_url"]
        os.environ["BENCH_SOJOURN_KEY"] = self._found["environments"]["dev"]["secret_key"]

    def start_workers(self, n=2):
        """Executors start when there is a version of the code."""
        self._sojourn("deploy", self._project, "--env", "dev", "--json")

    def stop_workers(self):
        return

    def client(self):
        return Client()

    def own_pids(self):
        with open(os.path.join(self._data_dir, "stack.json")) as file:
            return list(json.load(file)["services"].values())

    def close(self):
        if self._data_dir:
            self._sojourn("down")
            shutil.rmtree(self._data_dir, ignore_errors=True)
            self._data_dir = ""

    def _sojourn(self, *arguments):
        settings = {
            "SOJOURN_DATA_DIR": self._data_dir,
            "SOJOURN_PLACES": "2",
            "SOJOURN_API_URL": "",
            "SOJOURN_SECRET_KEY": "",
        }
        if self._found and arguments[0] == "deploy":
            settings["SOJOURN_API_URL"] = self._found["api_url"]
            settings["SOJOURN_SECRET_KEY"] = os.environ["BENCH_SOJOURN_KEY"]
        environment = {name: value for name, value in {**os.environ, **settings}.items() if value}
        environment.pop("PYTHONPATH", None)
        command = [os.environ["BENCH_SOJOURN_PYTHON"], "-m", "sojourn.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"sojourn {arguments[0]}: {done.stderr[-500:]}")
        return done.stdout


def _iso(moment):
    import datetime

    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat()
