"""Objects in a bucket of any S3-compatible service, by boto3: pure Python over sockets, so that greenlets go on meanwhile.

boto3 is imported when the first object is wanted (extra `[s3]`). Credentials are boto3's affair: the AWS_* variables,
a profile, a machine's role. No message of its errors holds them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

from sojourn.control_plane.domain.buckets import Bucket
from sojourn.control_plane.store.objects import (
    CHUNK,
    ObjectMissing,
    Objects,
    ObjectsUnavailable,
    Opened,
    Stored,
    checked,
)

log = logging.getLogger(__name__)

#: The smallest part that S3 takes is 5 MiB, and an object has 10,000 parts at most: parts grow so that 5 TiB fit.
_PART = 8 * CHUNK
_PARTS_OF_A_SIZE = 1_000
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


class S3Objects(Objects):
    """`patience`: seconds that the service may be silent before a call is given up."""

    def __init__(self, bucket: Bucket, patience: float = 10.0):
        self._bucket = bucket
        self._patience = patience

    def put(self, name: str, chunks: Iterable[bytes]) -> int:
        key = {"Bucket": self._bucket.name, "Key": self._key(name)}
        pieces = _growing(chunks)
        first = next(pieces, b"")
        if len(first) < _PART:
            with _failures():
                self._client.put_object(**key, Body=first)
            return len(first)
        return self._put_parts(key, chain([first], pieces))

    def open(self, name: str) -> Opened:
        with _failures(name):
            answer = self._client.get_object(Bucket=self._bucket.name, Key=self._key(name))
        return Opened(int(answer["ContentLength"]), _read(answer["Body"]), _told(answer.get("ContentType")))

    def url(self, name: str, method: str, seconds: int, media_type: str | None) -> str | None:
        key = {"Bucket": self._bucket.name, "Key": self._key(name)}
        if media_type is not None:
            key["ResponseContentType"] = media_type
        with _failures():
            made: str = self._client.generate_presigned_url(_CALLS[method], Params=key, ExpiresIn=seconds)
        return made

    def delete(self, name: str) -> None:
        with _failures():
            self._client.delete_object(Bucket=self._bucket.name, Key=self._key(name))

    def list(self, prefix: str) -> Iterator[Stored]:
        with _failures():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket.name, Prefix=self._bucket.prefix + prefix):
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._bucket.prefix)
                    yield Stored(name, int(found["Size"]), found["LastModified"])

    def abandon(self, before: datetime) -> int:
        removed = 0
        with _failures():
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket.name, Prefix=self._bucket.prefix):
                for found in page.get("Uploads", ()):
                    if found["Initiated"] < before:
                        self._abort({"Bucket": self._bucket.name, "Key": found["Key"], "UploadId": found["UploadId"]})
                        removed += 1
        return removed

    def _put_parts(self, key: dict[str, str], pieces: Iterable[bytes]) -> int:
        with _failures():
            upload = {**key, "UploadId": self._client.create_multipart_upload(**key)["UploadId"]}
        try:
            parts, written = [], 0
            for number, piece in enumerate(pieces, 1):
                with _failures():
                    answer = self._client.upload_part(**upload, PartNumber=number, Body=piece)
                parts.append({"ETag": answer["ETag"], "PartNumber": number})
                written += len(piece)
            with _failures():
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._try_abort(upload)
            raise
        return written

    def _try_abort(self, upload: dict[str, str]) -> None:
        try:
            self._abort(upload)
        except ObjectsUnavailable as error:
            log.warning("a broken upload is left to the sweep: %s", error)

    def _abort(self, upload: dict[str, str]) -> None:
        with _failures():
            try:
                self._client.abort_multipart_upload(**upload)
            except self._client.exceptions.NoSuchUpload:
                pass

    def _key(self, name: str) -> str:
        return self._bucket.prefix + checked(name)

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ObjectsUnavailable("boto3 is missing: install sojourn[s3]") from error
        settings = Config(
            connect_timeout=min(5.0, self._patience),
            read_timeout=self._patience,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=50,
            signature_version="s3v4",  # addresses that are signed the older way are good at AWS only
            # Services other than AWS know neither its newer checksums nor bucket names as host names.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if self._bucket.endpoint else {},
        )
        with _failures():
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self._bucket.endpoint,
                region_name=self._bucket.region or (None if not self._bucket.endpoint else "us-east-1"),
                config=settings,
            )


#: What S3 says of an object whose type nobody has told it.
_UNTOLD = ("binary/octet-stream", "application/octet-stream")
_CALLS = {"GET": "get_object", "PUT": "put_object"}


def _told(media_type: str | None) -> str | None:
    return None if media_type in _UNTOLD else media_type


def _growing(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Parts for an upload: the more there were, the larger the next ones."""
    source, size = iter(chunks), _PART
    kept = bytearray()
    count = 0
    for chunk in source:
        kept += chunk
        while len(kept) >= size:
            yield bytes(kept[:size])
            del kept[:size]
            count += 1
            size = _PART * 2 ** (count // _PARTS_OF_A_SIZE)
    if kept:
        yield bytes(kept)


def _read(body: Any) -> Iterator[bytes]:
    try:
        with _failures():
            yield from body.iter_chunks(CHUNK)
    finally:
        body.close()


@contextmanager
def _failures(name: str = "") -> Iterator[None]:
    """boto3's errors as ours; `name`: that of an object which has to be there."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if name and code in _MISSING:
            raise ObjectMissing(name) from None
        raise ObjectsUnavailable(f"the object store answered {code or 'with an error'}") from error
    except (BotoCoreError, HTTPError) as error:
        raise ObjectsUnavailable(f"the object store: {type(error).__name__}") from error
