"""The upload endpoint, which has its own envelope."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from aiohttp import BodyPartReader, web

from .responses import Refused, answer, html, refusal
from .state import State
from .vendor_rules import PARAMETER

UPLOAD_PATH = "/v1/figure-resource/upload/file"
# The limit (20 MB, read generously as 20 MiB) and the codes are from the vendor's skill pages.
MAX_BYTES = 20 * 2**20
TOO_LARGE, UNSUPPORTED = 100004, 100007


@attrs.frozen
class Uploads:
    """Handles uploads: one image in the multipart field ``file``.

    The whole body is read even if the upload is refused, so that the client receives the response.
    """

    state: State
    authorize: Callable[[State, web.Request], None]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Handle a POST: accept a JPEG, PNG or WebP of at most 20 MiB, or refuse the upload."""
        self.state.requests["POST upload"] += 1
        try:
            self.authorize(self.state, request)
            name, content = await self._file(request)
            content_type = self._type(content)
        # A wrong key is refused in the API's usual envelope, everything else in the upload
        # envelope.
        except Refused as refused:
            await self.state.lag()
            if refused.reason == "auth":
                return refusal(self.state, refused)
            self.state.refused[refused.reason] += 1
            self.state.refuse_body("upload", refused.message)
            message = {"global": refused.message}
            body = {"code": refused.code, "success": False, "message": message, "result": None}
            return answer(body, refused.status)
        await self.state.lag()
        if self.state.strike("upload_errors", name, family="upload"):
            return html(500)
        upload = self.state.keep(name, content, content_type)
        result = {"url": upload.url, "fileId": upload.file_id, "fileName": upload.name}
        message = {"global": "success"}
        return answer({"code": 0, "success": True, "message": message, "result": result})

    async def _file(self, request: web.Request) -> tuple[str, bytes]:
        """Return the name and content of the only part, which must be called ``file``."""
        if request.content_type != "multipart/form-data":
            raise self._bad("multipart/form-data expected")
        files: list[tuple[str, bytes]] = []
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or part.name != "file":
                    raise self._bad("expected exactly one part, named file")
                content, size = bytearray(), 0
                while chunk := await part.read_chunk(2**16):
                    size += len(chunk)
                    if size <= MAX_BYTES:
                        content += chunk
                if size > MAX_BYTES:
                    raise Refused("invalid", 413, TOO_LARGE, "image size exceeded")
                files.append((part.filename or "file", bytes(content)))
        except ValueError as error:
            raise self._bad(f"multipart body cannot be read: {error}") from error
        if len(files) != 1:
            raise self._bad("expected exactly one part, named file")
        return files[0]

    def _type(self, content: bytes) -> str:
        """Return the media type, detected from the content's first bytes."""
        if content.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return "image/webp"
        raise Refused("invalid", 400, UNSUPPORTED, "unsupported image format")

    def _bad(self, message: str) -> Refused:
        return Refused("invalid", 400, PARAMETER, f"Parameter error: {message}")
