"""Prepares requests' local files: hashes, checks, fits and uploads them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import define

from ..events import Emit, Warned
from ..http.retry import correlation
from ..journal.protocol import JournalProtocol
from ..models.advice import FIXED_BY_FIT
from ..models.object_path import ObjectPath
from ..models.request import Request
from ..transfer.fitting import Fit
from ..transfer.object_storage import read_object
from ..transfer.uploads import Uploads

log = logging.getLogger("keevx_async.client")


@define(eq=False)
class Sources:
    """Prepares requests' local files.

    Args:
        uploads: uploads files and returns their URLs.
        journal: records the digests of fitted copies that were sent in place of local images.
        emit: receives Warned events.
        fit: how to adapt local images.
    """

    _uploads: Uploads
    _journal: JournalProtocol
    _emit: Emit | None
    _fit: Fit

    async def digests(self, request: Request) -> Mapping[Path, str]:
        """Return the SHA-256 digest of each of a request's local files.

        Digests identify the files in the journal. Files are hashed as they are on disk, so digests
        do not depend on ``fit``.

        Raises:
            UploadError: a file cannot be read, or is not in a format that Keevx accepts.
        """
        files = request.local_files()
        return await self._uploads.digests(files, request.kind.formats, self._fit) if files else {}

    async def prepare(self, key: str, request: Request) -> Request:
        """Upload a request's files and return the request with their URLs; warn of likely mistakes.

        An object in storage is copied to a temporary folder and then treated like a local file.

        Args:
            key: the create's key.
            request: the request; nothing has been sent for it yet.

        Raises:
            UploadError: a file cannot be read or uploaded.
        """
        stored = {path for path in request.files() if isinstance(path, ObjectPath)}
        if not stored:
            return await self._prepare(key, request)
        with TemporaryDirectory(prefix="keevx-", ignore_cleanup_errors=True) as name:
            copies: dict[ObjectPath, Path] = {}
            for number, path in enumerate(stored):
                folder = Path(name, str(number))  # two objects may have the same name
                copies[path] = await asyncio.to_thread(read_object, path, folder)
            return await self._prepare(key, request.with_urls(copies))

    async def _prepare(self, key: str, request: Request) -> Request:
        files = request.local_files()
        if self._emit is not None:
            # Without files, only the prompt is checked and nothing is read.
            warnings = await asyncio.to_thread(request.warnings) if files else request.warnings()
            if self._fit != "none":
                warnings = tuple(each for each in warnings if each.rule not in FIXED_BY_FIT)
            if warnings:
                self._emit(Warned(key, warnings))
        if not files:
            return request
        if self._fit == "none" or "JPEG" not in request.kind.formats:
            return request.with_urls(await self._uploads.files(files, request.kind.formats))
        ratios = request.frame_ratios()
        fitted = await self._uploads.fitted(
            {path: ratios.get(path) for path in files}, request.kind.formats, self._fit
        )
        if sent := {str(path): each.digest for path, each in fitted.items() if each.digest}:
            what = "create %s: sent fitted copies in place of its local images: %s"
            log.info(what, key, sent, extra=correlation(key))
            await self._journal.set_note(f"sent/{key}", json.dumps(sent))
        return request.with_urls({path: each.url for path, each in fitted.items()})
