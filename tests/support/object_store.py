"""A real S3 server on loopback: moto's, in a process of its own."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import obstore
import pytest
import pytest_asyncio
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


@asynccontextmanager
async def an_object_store() -> AsyncIterator[Bucket]:
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                request: Any = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")  # noqa: S310
                await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())  # noqa: S310, B023
                break
            except (urllib.error.URLError, ConnectionError):
                await asyncio.sleep(0.05)
        yield Bucket(url)
    finally:
        server.kill()
        await server.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Bucket]:
    async with an_object_store() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, with its owner's credentials in the environment."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    object_storage._store.cache_clear()
    return server
