"""Google Cloud Storage and Azure Blob Storage on loopback, as far as results need them.

Both check a request's signature from the vendor's description, and not with obstore's code:
- GCS: V4 signed URLs, https://cloud.google.com/storage/docs/authentication/canonical-requests
- Azure: service SAS, https://learn.microsoft.com/rest/api/storageservices/create-service-sas
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCOUNT_KEY = base64.b64encode(b"azure-secret-that-nobody-may-see").decode()


@define
class Store:
    """One bucket, or container, that is named ``films``.

    Attributes:
        objects: what was stored whole, by name.
        types: the content type of each.
        blocks: of Azure, by object and id, that are no object yet.
        refuse: the status that answers every write; None to accept it.
        silence: holds every write back until it is set; None to answer at once.
        requests: the method and path of each request.
        env: what its owner has in the environment.
    """

    objects: dict[str, bytes] = field(factory=dict[str, bytes])
    types: dict[str, str] = field(factory=dict[str, str])
    refuse: tuple[int, str] | None = None
    blocks: dict[tuple[str, str], bytes] = field(factory=dict[tuple[str, str], bytes])
    silence: asyncio.Event | None = None
    requests: list[str] = field(factory=list[str])
    env: dict[str, str] = field(factory=dict[str, str])

    async def answer_block(self, request: web.Request, name: str) -> web.StreamResponse:
        """Answer Azure's Put Block, or Put Block List, which makes an object of the blocks."""
        data = await request.read()
        if self.refuse is not None:
            return web.Response(status=self.refuse[0])
        if request.query["comp"] == "block":
            self.blocks[name, request.query["blockid"]] = data
        else:
            ids = re.findall(r"<(?:Uncommitted|Latest)>([^<]+)<", data.decode())
            self.objects[name] = b"".join(self.blocks.pop((name, each)) for each in ids)
            self.types[name] = request.headers.get("x-ms-blob-content-type", "")
        return web.Response(status=201, headers={"ETag": '"1"'})

    async def answer(self, request: web.Request, name: str) -> web.StreamResponse:
        """Answer a request for an object, once it was authorized."""
        self.requests.append(f"{request.method} {name}")
        if request.method == "PUT":
            data = await request.read()
            if self.silence is not None:
                await self.silence.wait()
            if self.refuse is not None:
                status, code = self.refuse
                return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>")
            if len(data) != int(request.headers["Content-Length"]):
                return web.Response(status=400)
            self.objects[name], self.types[name] = data, request.headers.get("Content-Type", "")
            return web.Response(status=201, headers={"ETag": '"1"'})
        if name not in self.objects:
            return web.Response(status=404)
        if request.method == "DELETE":
            del self.objects[name]
            return web.Response(status=204)
        headers = {"ETag": '"1"', "Last-Modified": "Thu, 26 Nov 2026 20:37:13 GMT"}
        body = self.objects[name]
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(body))})
        return web.Response(body=body, headers=headers)


@asynccontextmanager
async def google(folder: Path) -> AsyncIterator[Store]:
    """Run a bucket of Google Cloud Storage; its service account's file is written to a folder."""
    store, key = Store(), rsa.generate_private_key(65537, 2048)

    async def serve(request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        bucket, _, name = unquote(path).removeprefix("/").partition("/")
        is_signed = _is_signed_by_google(request, path, key.public_key())
        if not is_signed and not request.headers.get("Authorization", "").startswith("Bearer "):
            return web.Response(
                status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>"
            )
        if bucket != "films":
            return web.Response(status=404, text="<Error><Code>NoSuchBucket</Code></Error>")
        return await store.answer(request, name)

    async with _served(serve) as url:
        account = folder / "service-account.json"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        names = {"client_email": "studio@films.iam", "private_key_id": "1"}
        names |= {"type": "service_account", "gcs_base_url": url, "private_key": private.decode()}
        account.write_text(json.dumps(names))
        store.env = {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}
        yield store


@asynccontextmanager
async def azure() -> AsyncIterator[Store]:
    """Run a container of Azure Blob Storage, in the account ``studio``."""
    store = Store()

    async def serve(request: web.Request) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        path = unquote(raw_path)
        account, _, rest = path.removeprefix("/").partition("/")
        container, _, name = rest.partition("/")
        is_signed = account == "studio" and _is_signed_by_azure(request, f"/blob{path}")
        if not is_signed and not request.headers.get("Authorization", "").startswith(
            "SharedKey studio:"
        ):
            return web.Response(status=403, text="<Error><Code>AuthenticationFailed</Code></Error>")
        if container != "films":
            return web.Response(status=404, text="<Error><Code>ContainerNotFound</Code></Error>")
        if request.method == "PUT" and "comp" in request.query:
            return await store.answer_block(request, name)
        if request.method == "PUT" and request.headers.get("x-ms-blob-type") != "BlockBlob":
            return web.Response(
                status=400, text="<Error><Code>MissingRequiredHeader</Code></Error>"
            )
        return await store.answer(request, name)

    async with _served(serve) as url:
        store.env = {
            "AZURE_STORAGE_ACCOUNT_NAME": "studio",
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_STORAGE_ENDPOINT": f"{url}/studio",
            "AZURE_ALLOW_HTTP": "true",
        }
        yield store


@asynccontextmanager
async def _served(serve: web.RequestHandler | object) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", serve)  # type: ignore[arg-type]
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def _is_signed_by_google(request: web.Request, path: str, key: rsa.RSAPublicKey) -> bool:
    query = dict(request.query)
    try:
        signature = bytes.fromhex(query.pop("X-Goog-Signature"))
        scope = query["X-Goog-Credential"].partition("/")[2]
        moment, signed = query["X-Goog-Date"], query["X-Goog-SignedHeaders"]
    except (KeyError, ValueError):
        return False
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    headers = "".join(
        # obstore signs for Google's own host, whatever the address of the server.
        f"{name}:{'storage.googleapis.com' if name == 'host' else request.headers[name]}\n"
        for name in signed.split(";")
    )
    canonical = "\n".join(
        (request.method, path, "&".join("=".join(pair) for pair in pairs), headers, signed)
    )
    text = "\n".join(
        (
            "GOOG4-RSA-SHA256",
            moment,
            scope,
            hashlib.sha256(f"{canonical}\nUNSIGNED-PAYLOAD".encode()).hexdigest(),
        )
    )
    try:
        key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except Exception:  # noqa: BLE001 - of a library that has many
        return False
    return True


def _is_signed_by_azure(request: web.Request, resource: str) -> bool:
    query = request.query
    fields = [query.get("sp", ""), query.get("st", ""), query.get("se", ""), resource]
    # Identifier, IP, protocol; version and resource; snapshot, scope; five response headers.
    fields += ["", "", "", query.get("sv", ""), query.get("sr", ""), *[""] * 7]
    wanted = hmac.digest(base64.b64decode(ACCOUNT_KEY), "\n".join(fields).encode(), "sha256")
    allowed = {"PUT": "w", "GET": "r", "HEAD": "r", "DELETE": "d"}[request.method]
    return allowed in query.get("sp", "") and hmac.compare_digest(
        base64.b64encode(wanted).decode(), query.get("sig", "")
    )
