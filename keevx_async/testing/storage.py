"""The storage server: results, thumbnails and uploads, with Range support. It needs no key."""

from __future__ import annotations

import attrs
from aiohttp import web

from .contents import MAKERS, Content, held, span, thumbnail
from .records import SUCCEEDED, EmulatedTask
from .responses import drop, flush
from .state import State

MIRROR = "/mirror"
"""The path prefix on the mirror."""


def application(state: State, *, mirror: bool = False) -> web.Application:
    """Return storage as an aiohttp application.

    Args:
        state: the emulator's state.
        mirror: whether this is the redirect target, which serves only results.
    """
    app, shelf = web.Application(), Shelf(state, mirror)
    prefix = MIRROR if mirror else ""
    for name in MAKERS:
        path = f"{prefix}/{name}/{{task_id}}/{{file}}"
        app.router.add_get(path, shelf.result, allow_head=False)
    if not mirror:
        app.router.add_get("/thumbs/{task_id}.webp", shelf.thumbnail, allow_head=False)
        app.router.add_get("/uploads/{name}", shelf.upload, allow_head=False)
    app.router.add_route("*", "/{path:.*}", shelf.nothing)
    return app


@attrs.frozen
class Shelf:
    """Handles requests to one storage server."""

    state: State
    mirror: bool

    def _count(self, request: web.Request) -> None:
        origin = "mirror" if self.mirror else "storage"
        self.state.requests[f"{request.method} {origin}"] += 1
        self.state.saw(request.headers)

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        """Return 404 for any other path, as object stores do."""
        self._count(request)
        return _error(404, "NoSuchKey")

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """Serve a task's thumbnail once the task has succeeded."""
        self._count(request)
        task = self._ended(request)
        if task is None:
            return _error(404, "NoSuchKey")
        return await _serve(request, thumbnail(task), cut=False)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Serve an uploaded file if its content was kept."""
        self._count(request)
        url = self.state.storage_url + request.path
        content, upload = self.state.content(url), self.state.uploads.get(url)
        if content is None or upload is None:
            return _error(404, "NoSuchKey")
        return await _serve(request, held(content, upload.digest, upload.content_type), cut=False)

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Serve a file that a task made, subject to the storage faults."""
        self._count(request)
        task, path = self._ended(request), request.path.removeprefix(MIRROR)
        url = self.state.storage_url + path
        if task is None or url not in self.state.result(task).values():
            return _error(404, "NoSuchKey")
        shelf = path.split("/")[1]
        lot = task.lot if shelf == "videos" else f"{task.lot}/{shelf}"  # per file
        # An expired URL leads nowhere, not even to the mirror. The mirror itself always serves, so
        # redirects end there; only cuts apply to both.
        if not self.mirror and self.state.holds("expired", url, key=lot):
            return _error(403, "ExpiredToken")
        if not self.mirror and self.state.holds("redirect_downloads", url, key=lot):
            where = self.state.mirror_url + MIRROR + path
            return web.Response(status=302, headers={"Location": where})
        cut = self.state.strike("cut_downloads", url, family="cut", key=lot)
        return await _serve(request, MAKERS[shelf](task, self.state.video_bytes), cut=cut)

    def _ended(self, request: web.Request) -> EmulatedTask | None:
        task = self.state.tasks.get(request.match_info["task_id"])
        return task if task is not None and task.status == SUCCEEDED else None


def _error(status: int, code: str) -> web.Response:
    """Return an error as object stores do: in XML, without the API's envelope."""
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return web.Response(text=text, status=status, content_type="application/xml")


async def _serve(request: web.Request, content: Content, *, cut: bool) -> web.StreamResponse:
    """Send the content or the requested range. If ``cut`` is True, disconnect halfway."""
    headers = {"ETag": content.etag, "Accept-Ranges": "bytes", "Content-Type": content.media_type}
    # A range is useful only if the client's earlier part is from the same file (RFC 9110, 13.1.5).
    same = request.headers.get("If-Range", content.etag) == content.etag
    try:
        part = span(request.headers.get("Range") if same else None, content.size)
    except ValueError:
        headers = {"Content-Range": f"bytes */{content.size}"}
        return web.Response(status=416, headers=headers)
    start, stop = part or (0, content.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_length = stop - start
    end = start + (stop - start) // 2 if cut else stop
    try:
        await response.prepare(request)
        for chunk in content.read(start, end):
            await response.write(chunk)
        if cut:
            await flush(request)
            drop(request)
    except ConnectionError:  # the client closed it first
        pass
    return response
