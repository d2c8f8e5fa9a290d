"""Named bytes: in a folder of this machine or in an S3 bucket, each there whole or not at all.

A name is a path with slashes below the root of the store. Writing one again replaces it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from ml.adapters.files import replacing, storage_errors
from ml.core.errors import ConfigError, FlightlineError, TransientError

_CONNECT_SECONDS, _READ_SECONDS = 5, 60
_READERS = 8  # a small object is nearly all latency
_AWAY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_AWAY_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "NoSuchUpload"}
_CREDENTIALS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if used, AWS_SESSION_TOKEN"


class Objects(Protocol):
    """A store of named bytes.

    All methods raise `TransientError` if the store is full or away, and `ConfigError` if it
    refuses or does not exist.
    """

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """The contents of these, in order; None for one that is not there."""
        ...

    def tail(self, name: str, size: int) -> bytes | None:
        """The last `size` bytes, or all if there are fewer; None if it is not there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Replace one: a reader sees the old content or the new, never half of one."""
        ...

    def delete(self, name: str) -> None:
        """Drop one; fine if there is none."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Names of all that lie in or below a folder, in no order."""
        ...

    def address(self, name: str) -> str:
        """Where it is: a path or a URL."""
        ...


@dataclass(frozen=True)
class LocalObjects:
    """Files below a folder. Implements `Objects`."""

    root: Path

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        return map(self._read, names)

    def _read(self, name: str) -> bytes | None:
        # Not memory-mapped: no faster here, and a disk that fails would end the process by SIGBUS.
        path = self.root / name
        try:
            with storage_errors(path):
                return path.read_bytes()
        except FileNotFoundError:
            return None

    def tail(self, name: str, size: int) -> bytes | None:
        path = self.root / name
        try:
            with storage_errors(path), path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - size))
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        path = self.root / name
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except BaseException:
            self._prune(path.parent)
            raise

    def delete(self, name: str) -> None:
        path = self.root / name
        with storage_errors(path):
            path.unlink(missing_ok=True)
        self._prune(path.parent)

    def _prune(self, folder: Path) -> None:
        """Remove empty folders, up to the root's own: beside those, others may be at work."""
        while self.root in folder.parent.parents:
            try:
                folder.rmdir()
            except OSError:  # it is not empty, or not there
                return
            folder = folder.parent

    def names(self, folder: str) -> Iterator[str]:
        with storage_errors(self.root / folder):
            for parent, _, files in os.walk(self.root / folder):
                for file in files:
                    yield Path(parent, file).relative_to(self.root).as_posix()

    def address(self, name: str) -> str:
        return str(self.root / name)


@dataclass(frozen=True)
class S3Objects:
    """Objects of a bucket below a prefix. Implements `Objects`.

    Credentials, region, endpoint (`AWS_ENDPOINT_URL_S3`) and the number of attempts come from the
    standard AWS variables and files; nothing is opened before it is used.

    Attributes:
        part_bytes: larger contents go up in parts of this size, at least 5 MiB, and appear when
            the last one has arrived.
    """

    bucket: str
    prefix: str = ""
    part_bytes: int = 64 << 20

    @cached_property
    def _client(self) -> Any:  # boto3 makes its classes at run time, so they have no types
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard"},
            # With a range some servers send the checksum of the whole object, and an error of the
            # server that carries one crashes botocore. Pages of Parquet have their own.
            response_checksum_validation="when_required",
        )
        try:
            return boto3.session.Session().client("s3", config=config)
        except ValueError as error:  # for example `Invalid endpoint`
            raise ConfigError(
                f"no S3 client for {self.address('')}: {error}",
                repair="mend AWS_ENDPOINT_URL_S3, or unset it to use AWS",
            ) from error

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def address(self, name: str) -> str:
        return f"s3://{self.bucket}/{self._key(name)}"

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        if not names:
            return
        with self._errors(names[0]):
            _ = self._client  # made once, before there are threads
        with ThreadPoolExecutor(min(_READERS, len(names))) as pool:
            yield from pool.map(self._get, names)

    def tail(self, name: str, size: int) -> bytes | None:
        try:
            return self._get(name, Range=f"bytes=-{size}")
        except _InvalidRange:  # it is smaller: AWS sends all of it then, others refuse
            whole = self._get(name)
            return whole[-size:] if whole else whole

    def _get(self, name: str, **options: str) -> bytes | None:
        try:
            with self._errors(name):
                found = self._client.get_object(Bucket=self.bucket, Key=self._key(name), **options)
                content: bytes = found["Body"].read()
                return content
        except _NoSuchKey:
            return None

    def write(self, name: str, content: bytes) -> None:
        key = self._key(name)
        with self._errors(name):
            if len(content) <= self.part_bytes:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=content)
                return
            from boto3.s3.transfer import TransferConfig

            parts = TransferConfig(
                multipart_threshold=self.part_bytes, multipart_chunksize=self.part_bytes
            )
            self._client.upload_fileobj(io.BytesIO(content), self.bucket, key, Config=parts)

    def delete(self, name: str) -> None:
        with self._errors(name):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def names(self, folder: str) -> Iterator[str]:
        prefix = self._key(f"{folder}/")
        with self._errors(folder):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield f"{folder}/{found['Key'].removeprefix(prefix)}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._refused(error.response, name) from error
        except BotoCoreError as error:
            raise self._failed(error, name) from error

    def _refused(self, response: Any, name: str) -> FlightlineError:
        """What the server's answer means."""
        status = int(response["ResponseMetadata"]["HTTPStatusCode"])
        code, message = (str(response["Error"].get(field, "")) for field in ("Code", "Message"))
        seen = f"{self.address(name)}: the server answers {status} {code} {message}".rstrip()
        if code == "NoSuchKey":
            return _NoSuchKey(seen)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _InvalidRange(seen)
        if code == "NoSuchBucket":
            repair = f"create bucket {self.bucket}, or mend the name"
            return ConfigError(seen, expected="a bucket that exists", repair=repair)
        is_broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        is_able = status != HTTPStatus.NOT_IMPLEMENTED
        if (is_broken and is_able) or status in _AWAY or code in _AWAY_CODES:
            return TransientError(seen, repair="run this again; if it stays, look at that server")
        return ConfigError(
            seen,
            expected="a key that may list the bucket, and get, put and delete its objects",
            repair=f"check {_CREDENTIALS}, AWS_REGION, AWS_ENDPOINT_URL_S3 and this machine's time",
        )

    def _failed(self, error: Exception, name: str) -> FlightlineError:
        """What it means that there was no answer, or no question."""
        from botocore import exceptions as known

        seen = f"{self.address(name)}: {error}"
        passing = (
            *(known.ConnectionError, known.HTTPClientError, known.IncompleteReadError),
            *(known.FlexibleChecksumError, known.CredentialRetrievalError),
        )
        if isinstance(error, passing) and not isinstance(error, known.SSLError):
            return TransientError(
                seen,
                expected="an S3 server that answers",
                repair="check AWS_ENDPOINT_URL_S3 and that the server is up, then run this again",
            )
        return ConfigError(
            seen,
            repair=f"check the bucket's name, {_CREDENTIALS}, AWS_PROFILE, AWS_REGION and, for a "
            "certificate of your own, AWS_CA_BUNDLE",
        )


class _NoSuchKey(TransientError):
    pass


class _InvalidRange(TransientError):
    pass
