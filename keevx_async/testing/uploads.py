"""The upload endpoint, with its own envelope."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from aiohttp import BodyPartReader, web

from .responses import Refused, answer, html, refusal
from .state import State
from .vendor_rules import PARAMETER

UPLOAD_PATH = "/v1/figure-resource/upload/file"
# 20 MB and the codes: the vendor's skill pages. Read generously, as 20 MiB.
LIMIT = 20 * 2**20
TOO_LARGE, UNSUPPORTED = 100004, 100007


@attrs.frozen
class Uploads:
    """POST of one image as the multipart field `file`."""

    state: State
    authorize: Callable[[State, web.Request], None]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take a file, or refuse it."""
        self.state.requests["POST upload"] += 1
        try:
            self.authorize(self.state, request)
            name, content = await self._file(request)
            content_type = self._type(content)
        except Refused as refused:
            return await self._refuse(refused)
        await self.state.lag()
        if self.state.strike("upload_errors", name, family="upload"):
            return html(500)
        return answer(self._accepted(name, content, content_type))

    async def _refuse(self, refused: Refused) -> web.StreamResponse:
        await self.state.lag()
        if refused.reason == "auth":
            return refusal(self.state, refused)
        self.state.refused[refused.reason] += 1
        self.state.refuse_body("upload", refused.message)
        message = {"global": refused.message}
        body = {"code": refused.code, "success": False, "message": message, "result": None}
        return answer(body, refused.status)

    def _accepted(self, name: str, content: bytes, content_type: str) -> dict[str, object]:
        kept = self.state.keep(name, content, content_type)
        result = {"url": kept.url, "fileId": kept.file_id, "fileName": kept.name}
        return {"code": 0, "success": True, "message": {"global": "success"}, "result": result}

    async def _file(self, request: web.Request) -> tuple[str, bytes]:
        """The name and content of the one part called `file`."""
        if request.content_type != "multipart/form-data":
            raise self._bad("multipart/form-data expected")
        found: list[tuple[str, bytes]] = []
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or part.name != "file":
                    raise self._bad("one part named file expected")
                found.append((part.filename or "file", await self._content(part)))
        except ValueError as error:
            raise self._bad(f"multipart body cannot be read: {error}") from error
        if len(found) != 1:
            raise self._bad("one part named file expected")
        return found[0]

    async def _content(self, part: BodyPartReader) -> bytes:
        """The part's bytes; all of it is read even when refused, so the answer can be heard."""
        content, size = bytearray(), 0
        while chunk := await part.read_chunk(2**16):
            size += len(chunk)
            if size <= LIMIT:
                content += chunk
        if size > LIMIT:
            raise Refused("invalid", 413, TOO_LARGE, "image size exceeded")
        return bytes(content)

    def _type(self, content: bytes) -> str:
        """The media type by the content's first bytes."""
        if content.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return "image/webp"
        raise Refused("invalid", 400, UNSUPPORTED, "unsupported image format")

    def _bad(self, message: str) -> Refused:
        return Refused("invalid", 400, PARAMETER, f"Parameter error: {message}")
