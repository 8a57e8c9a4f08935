"""A real S3 server on loopback: moto's, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import obstore
import pytest
from obstore.store import S3Store

from keevx_async.transfer import object_storage
from tests.support.ports import free_port

BUCKET = "films"
SECRET = "s3-secret-that-nobody-may-see"


class Bucket:
    """The bucket of a server, as its owner sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "owner",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        self._store = S3Store(
            BUCKET,
            endpoint=url,
            access_key_id="owner",
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def objects(self) -> dict[str, int]:
        """The size of each object by its name."""
        return {one["path"]: one["size"] for page in obstore.list(self._store) for one in page}

    def content(self, name: str) -> bytes:
        return bytes(obstore.get(self._store, name).bytes())

    def uploads(self) -> int:
        """Multipart uploads that were begun and not ended: their parts are stored, unseen."""
        with urllib.request.urlopen(f"{self.url}/{BUCKET}?uploads") as answer:  # noqa: S310
            count: int = answer.read().count(b"<UploadId>")
            return count


@contextmanager
def an_object_store() -> Iterator[Bucket]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_made(f"{url}/{BUCKET}"):
            assert process.poll() is None, "the object store ended by itself"
            time.sleep(0.05)
        yield Bucket(url)
    finally:
        process.kill()
        process.wait()


def is_made(url: str) -> bool:
    """Whether a bucket could be made: whether the server listens."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()  # noqa: S310
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


@pytest.fixture(scope="session")
def server() -> Iterator[Bucket]:
    """One server for all tests, which one worker runs: it takes long to start."""
    with an_object_store() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, with its owner's credentials in the environment."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    object_storage._store.cache_clear()
    return server
