"""Libraries in the middle of their work when the process is frozen: one task a library.

Each sets something up, waits (there the process is frozen, and goes on in another sandbox), and goes on with what it had
before: an object of the library, not a copy. What it returns says what is kept and what has to be opened again.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sojourn import task, wait


def freeze() -> None:
    """The wait in which the process is frozen."""
    wait.for_(hours=1)


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """An HTTP server of this process; connections to it are kept alive."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = (
                b'<?xml version="1.0"?><ListAllMyBucketsResult><Owner><ID>o</ID></Owner><Buckets/></ListAllMyBucketsResult>'
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


# --- the standard library


@task
def with_asyncio(payload: Any) -> str:
    import asyncio

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)
                await asyncio.sleep(0.01)

        producer = asyncio.create_task(produce())
        got = [await queue.get()]
        await producer
        await wait.for_(hours=1)
        got += [await queue.get(), await queue.get()]
        return got

    assert asyncio.run(main()) == [0, 1, 2]
    return "loops, tasks and queues are kept; a wait in a coroutine freezes once nothing else can go on"


@task
def with_threading(payload: Any) -> str:
    counted, stop, lock, local = [0], threading.Event(), threading.Lock(), threading.local()
    local.value = "main"

    def count() -> None:
        while not stop.wait(0.002):
            with lock:
                counted[0] += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    freeze()
    with lock:
        before = counted[0]
    while counted[0] <= before + 4:
        stop.wait(0.001)
    stop.set()
    for each in threads:
        each.join(5)
    assert local.value == "main" and not any(each.is_alive() for each in threads)
    return "threads, locks and thread-local values are kept"


@task
def with_subprocess(payload: Any) -> str:
    import subprocess

    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cat:
        assert cat.stdin and cat.stdout
        cat.stdin.write("before\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == "before\n"
        pid = cat.pid
        freeze()
        cat.stdin.write("after\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == "after\n" and cat.pid == pid
        cat.stdin.close()
        assert cat.wait(5) == 0
    return "child processes are kept, with their numbers and pipes"


@task
def with_multiprocessing(payload: Any) -> str:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        freeze()
        assert pool.map(abs, [-3, -4]) == [3, 4]
    return "pools are kept, with their processes and semaphores"


@task
def with_sqlite3(payload: Any) -> str:
    import sqlite3

    connection = sqlite3.connect("/tmp/state.sqlite")
    connection.execute("CREATE TABLE numbers (n int)")
    connection.execute("INSERT INTO numbers VALUES (1)")
    connection.commit()
    connection.execute("INSERT INTO numbers VALUES (2)")
    freeze()
    connection.execute("INSERT INTO numbers VALUES (3)")
    connection.commit()
    assert connection.execute("SELECT sum(n) FROM numbers").fetchone() == (6,)
    return "connections to files in /tmp are kept, with an open transaction"


@task
def with_tempfile(payload: Any) -> str:
    import tempfile

    with tempfile.TemporaryFile("w+") as gone, tempfile.NamedTemporaryFile("w+") as named:
        gone.write("deleted, and open\n")
        named.write("named\n")
        freeze()
        gone.write("and after\n")
        gone.seek(0)
        named.flush()
        assert gone.read() == "deleted, and open\nand after\n"
        with open(named.name) as again:
            assert again.read() == "named\n"
    return "temporary files are kept, deleted ones too"


@task
def with_mmap(payload: Any) -> str:
    import mmap

    with open("/tmp/mapped", "w+b") as file:
        file.truncate(1 << 20)
        shared, private = mmap.mmap(file.fileno(), 0), mmap.mmap(-1, 1 << 20)
        shared[:5], private[:5] = b"file!", b"anon!"
        freeze()
        assert shared[:5] == b"file!" and private[:5] == b"anon!"
        shared[:5] = b"after"
        shared.flush()
        assert file.read(5) == b"after"
    return "mappings are kept, of files in /tmp and of memory"


# --- HTTP


@task
def with_requests(payload: Any) -> str:
    import requests

    with web_server() as url, requests.Session() as session:
        session.headers["x-kept"] = "yes"
        assert session.get(url, timeout=5).status_code == 200
        freeze()
        answer = session.get(url, timeout=5)
        assert answer.status_code == 200 and answer.request.headers["x-kept"] == "yes"
    return "a session is kept; its connections are closed, and opened again by the next request"


@task
def with_httpx(payload: Any) -> str:
    import httpx

    with web_server() as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/").status_code == 200
        freeze()
        assert client.get("/").status_code == 200
    return "a client is kept; its connections are closed, and opened again by the next request"


@task
async def with_aiohttp(payload: Any) -> str:
    import aiohttp

    with web_server() as url:
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                assert answer.status == 200
            await wait.for_(hours=1)
            async with session.get(url) as answer:
                assert answer.status == 200
    return "a session is kept; its connections are closed, and opened again by the next request"


@task
def with_boto3(payload: Any) -> str:
    import boto3

    with web_server() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="eu-1", aws_access_key_id="id", aws_secret_access_key="secret"
        )
        assert client.list_buckets()["Buckets"] == []
        freeze()
        assert client.list_buckets()["Buckets"] == []
    return "clients are kept; connections are opened again"


@task
def with_grpcio(payload: Any) -> str:
    from concurrent import futures

    import grpc

    def echo(request: bytes, _: Any) -> bytes:
        return request

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        say: Callable[..., bytes] = channel.unary_unary("/test.Echo/Say")
        assert say(b"before", timeout=5, wait_for_ready=True) == b"before"
        freeze()
        for left in range(2, -1, -1):
            try:
                assert say(b"after", timeout=10, wait_for_ready=True) == b"after"
                break
            except grpc.RpcError:  # the first call may meet the connection that was closed
                if not left:
                    raise
    server.stop(0)
    return "channels and servers are kept; a channel connects again, the first call may fail with UNAVAILABLE"


# --- databases: the servers are outside


@task
def with_psycopg2(payload: Any) -> str:
    import psycopg2

    connection = psycopg2.connect(payload["postgres"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.commit()
    freeze()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        raise AssertionError("the connection was to be closed")
    except psycopg2.OperationalError:
        connection = psycopg2.connect(payload["postgres"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)
    return "connections are closed (OperationalError): open them again, or close them in on_wait"


@task
def with_psycopg(payload: Any) -> str:
    import psycopg

    connection = psycopg.connect(payload["postgres"], autocommit=True)
    connection.execute("SELECT 1")
    freeze()
    try:
        connection.execute("SELECT 1")
        raise AssertionError("the connection was to be closed")
    except psycopg.OperationalError:
        connection = psycopg.connect(payload["postgres"], autocommit=True)
    row = connection.execute("SELECT 2").fetchone()
    assert row == (2,)
    return "connections are closed (OperationalError): open them again, or close them in on_wait"


@task
async def with_asyncpg(payload: Any) -> str:
    import asyncpg

    connection = await asyncpg.connect(payload["postgres"])
    async with asyncpg.create_pool(payload["postgres"], min_size=1, max_size=2) as pool:
        assert await connection.fetchval("SELECT 1") == await pool.fetchval("SELECT 1") == 1
        await wait.for_(hours=1)
        assert await pool.fetchval("SELECT 2") == 2
        try:
            await connection.fetchval("SELECT 1")
            raise AssertionError("the connection was to be closed")
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            pass
    return "pools are kept and connect again by themselves; connections of one's own are closed: open them again"


@task
def with_sqlalchemy(payload: Any) -> str:
    import sqlalchemy

    engine = sqlalchemy.create_engine(payload["postgres_sqlalchemy"], pool_pre_ping=True)
    table = sqlalchemy.Table("t", sqlalchemy.MetaData(), sqlalchemy.Column("n", sqlalchemy.Integer))
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(1)) == 1
    freeze()
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(2)) == 2
    assert str(sqlalchemy.select(table)) == "SELECT t.n \nFROM t"
    return "engines are kept; with pool_pre_ping=True their connections are replaced unnoticed"


@task
def with_redis(payload: Any) -> str:
    import redis

    client = redis.Redis.from_url(payload["redis"])
    client.set("kept", "yes")
    freeze()
    assert client.get("kept") == b"yes"
    return "clients are kept; they connect again by themselves"


# --- data


@task
def with_numpy(payload: Any) -> str:
    import numpy

    generator, matrix = numpy.random.default_rng(7), numpy.arange(250_000, dtype=float).reshape(500, 500)
    product = matrix @ matrix.T
    first = generator.random()
    numpy.random.seed(7)
    foretold = numpy.random.random()
    numpy.random.seed(7)
    freeze()
    assert numpy.random.random() != foretold
    assert numpy.array_equal(matrix @ matrix.T, product)
    again = numpy.random.default_rng(7)
    assert again.random() == first and again.random() == generator.random()
    return "arrays, BLAS threads and generators of one's own are kept; numpy.random's global one is seeded anew"


@task
def with_pandas(payload: Any) -> str:
    import pandas

    frame = pandas.DataFrame({"group": ["a", "b"] * 5_000, "value": range(10_000)})
    groups = frame.groupby("group")
    total = int(frame["value"].sum())
    freeze()
    assert int(groups["value"].sum().sum()) == total
    return "frames and groupings are kept"


@task
def with_polars(payload: Any) -> str:
    import polars

    frame = polars.DataFrame({"n": range(100_000)})
    lazy = frame.lazy().filter(polars.col("n") % 2 == 0).select(polars.col("n").sum())
    expected = frame.filter(polars.col("n") % 2 == 0)["n"].sum()
    freeze()
    assert lazy.collect().item() == expected
    return "frames, lazy queries and the pool of threads are kept"


@task
def with_pyarrow(payload: Any) -> str:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    table = pyarrow.table({"n": list(range(100_000))})
    pyarrow.parquet.write_table(table, "/tmp/table.parquet")
    mapped = pyarrow.memory_map("/tmp/table.parquet")
    freeze()
    again = pyarrow.parquet.read_table(mapped)
    assert pyarrow.compute.sum(again["n"]).as_py() == sum(range(100_000))
    return "tables, memory maps and the pool of threads are kept"


@task
def with_sklearn(payload: Any) -> str:
    import numpy
    from sklearn.ensemble import RandomForestClassifier

    data, labels = numpy.arange(400).reshape(200, 2), numpy.arange(200) > 99
    model = RandomForestClassifier(n_estimators=10, n_jobs=2, random_state=0).fit(data, labels)
    freeze()
    again = RandomForestClassifier(n_estimators=10, n_jobs=2, random_state=0).fit(data, labels)
    assert numpy.array_equal(again.predict(data), model.predict(data))
    return "models are kept, and fit again with threads"


@task
def with_pillow(payload: Any) -> str:
    from PIL import Image, ImageFilter

    image = Image.new("RGB", (200, 200), "red")
    image.save("/tmp/red.png")
    lazy = Image.open("/tmp/red.png")
    freeze()
    assert lazy.getpixel((10, 10)) == (255, 0, 0)
    assert image.filter(ImageFilter.GaussianBlur(2)).size == (200, 200)
    return "images are kept, files that were opened and not read yet too"


@task
def with_lxml(payload: Any) -> str:
    from lxml import etree

    root = etree.fromstring("<a><b n='1'/><b n='2'/></a>")
    parser = etree.XMLPullParser(events=("end",))
    parser.feed("<r><one/>")
    freeze()
    assert [each.get("n") for each in root.xpath("//b")] == ["1", "2"]
    parser.feed("<two/></r>")
    assert [element.tag for _, element in parser.read_events()] == ["one", "two", "r"]
    return "trees, XPath and parsers in the middle of a document are kept"


@task
def with_pydantic(payload: Any) -> str:
    import pydantic

    class Order(pydantic.BaseModel):
        number: int
        lines: list[str] = []

    order, adapter = Order(number=1, lines=["a"]), pydantic.TypeAdapter(list[Order])
    freeze()
    assert adapter.validate_python([order.model_dump()]) == [order]
    return "models and validators are kept"


@task
def with_opentelemetry(payload: Any) -> str:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("compat")
    with tracer.start_as_current_span("around the wait"):
        with tracer.start_as_current_span("before"):
            pass
        freeze()
        with tracer.start_as_current_span("after"):
            pass
    provider.force_flush()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["before", "after", "around the wait"], names
    provider.shutdown()
    return "open spans and the exporting thread are kept"


@task
def with_cryptography(payload: Any) -> str:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives import hashes

    digest, cipher = hashes.Hash(hashes.SHA256()), Fernet(Fernet.generate_key())
    digest.update(b"before")
    token = cipher.encrypt(b"kept")
    freeze()
    digest.update(b"after")
    whole = hashes.Hash(hashes.SHA256())
    whole.update(b"beforeafter")
    assert cipher.decrypt(token) == b"kept" and digest.finalize() == whole.finalize()
    return "keys and hashes in the middle are kept; OpenSSL's random numbers are seeded anew"


@task
def with_uvloop(payload: Any) -> str:
    import asyncio

    import uvloop

    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def slow(value: int) -> int:
        await asyncio.sleep(0.01)
        return value

    assert asyncio.run_coroutine_threadsafe(slow(1), loop).result(5) == 1
    freeze()
    assert asyncio.run_coroutine_threadsafe(slow(2), loop).result(5) == 2
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    return "loops in threads are kept; coroutines of a task wait alive under uvloop"


@task
def with_torch(payload: Any) -> str:
    import torch

    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(torch.ones(1, 4)).detach().clone()
    freeze()
    assert torch.equal(model(torch.ones(1, 4)).detach(), before)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return "models, gradients and optimizers are kept (CPU)"


@task
def with_environment(payload: Any) -> str:
    """What the freezing itself must keep or renew."""
    import random
    import uuid

    number, numbers = os.getpid(), random.Random(3)
    first = numbers.random()
    freeze()
    again = random.Random(3)
    assert os.getpid() == number and again.random() == first and again.random() == numbers.random()
    return f"{random.random()} {uuid.uuid4()}"
