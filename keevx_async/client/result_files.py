"""Downloads results: chooses each result's file, and records it in the journal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Container, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from ..errors import DownloadError
from ..events import Downloaded, Emit, Mismatched
from ..http.queries import ApiClient
from ..journal.protocol import JournalProtocol, TaskRecord
from ..models.object_path import ObjectPath
from ..models.outcomes import Outcome
from ..models.tasks import URL_LIFE, Task
from ..transfer.downloads import PARALLEL_DOWNLOADS, Downloads, GoneError
from ..transfer.object_storage import object_size
from ..transfer.output_paths import (
    Destination,
    OutputNames,
    result_paths,
    target_path,
    thumbnail_path,
)
from ..transfer.part_files import DownloadedFile, FindEarlier
from ..transfer.probe import Verify, can_probe, verify_file

MAX_ACTIVE = 2 * PARALLEL_DOWNLOADS
"""The maximum number of items whose results are named or downloaded at once. Others are queued."""
MAX_QUEUED = 2_000
"""Submitting pauses while this many items are queued, because results would only pile up. A queue
of this length keeps downloads busy until new tasks end."""
NEW_FOR = 600.0
"""Seconds after a task's end during which the storage host may not have the result yet."""


@define(eq=False)
class Results:
    """Downloads results: plans a task's files, fetches each, and records the main file.

    Args:
        downloads: fetches one URL into one file, completely or not at all.
        api: queries a task again to get fresh URLs.
        journal: records the downloads and their paths.
        verify: how to verify downloaded videos.
        emit: receives Downloaded and Mismatched events.
    """

    _downloads: Downloads
    _api: ApiClient
    _journal: JournalProtocol
    _verify: Verify = "content"
    _emit: Emit | None = None
    _names_taken: set[str] = field(factory=set[str], init=False)
    _began_at: float = field(factory=time.time, init=False)
    _turns: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(MAX_ACTIVE), init=False)
    _queued: int = field(default=0, init=False)
    _has_room: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def check_writable(self, folder: Path) -> None:
        """Check that a folder in object storage is writable. Local folders are not checked.

        Raises:
            ConfigurationError: the folder is not writable.
        """
        await self._downloads.check_writable(folder)

    async def download(
        self, task_or_url: Task | str, destination: Destination, *, overwrite: bool
    ) -> Path:
        """Download a result and its related files; return the main file's path.

        Raises:
            DownloadError: a file exists and overwrite is false, or a download failed.
        """
        target = target_path(task_or_url, destination)
        if isinstance(task_or_url, str):
            return (await self._downloads.fetch(task_or_url, target, overwrite=overwrite)).path
        files = result_paths(task_or_url, target)
        if not overwrite and (existing := await asyncio.to_thread(_existing, files)):
            raise DownloadError(f"{existing[0]} exists; pass overwrite=True to replace it")
        async for _ in self._fetch(task_or_url, files, overwrite=overwrite):
            pass
        return target

    async def download_all(self, outcome: Outcome[Any], names: OutputNames) -> None:
        """Download the results of an outcome's tasks, adding each path to ``outcome.paths``.

        Complete files from an earlier run are left unchanged. No two of a client's tasks get the
        same file name.

        Raises:
            DownloadError: a download failed. Files completed before that are kept and recorded.
        """
        self._queued += 1
        try:
            await self._turns.acquire()
        finally:
            self._queued -= 1
            self._has_room.set()
        try:
            for task in outcome.tasks:
                if task.succeeded:
                    await self._download_task(task, outcome, names)
        finally:
            self._turns.release()

    async def wait_for_room(self) -> None:
        """Wait while ``MAX_QUEUED`` or more items are queued for download."""
        while self._queued >= MAX_QUEUED:
            self._has_room.clear()
            await self._has_room.wait()

    async def _download_task(self, task: Task, outcome: Outcome[Any], names: OutputNames) -> None:
        # Plan the files, then fetch each and record the main one:
        # 1. An earlier run downloaded the main file, which is still complete: keep it and every
        #    other existing file. Fetch only the missing ones.
        # 2. Otherwise the task gets its own file names. An existing file with such a name is
        #    replaced only if it belongs to this task.
        # An expired URL is renewed first, which is free.
        record = await self._journal.find_task(task.task_id)
        files: Mapping[str, Path] = {}
        existing: Sequence[Path] = ()
        if record is not None and record.path is not None:
            files = result_paths(task, record.path)
            if await asyncio.to_thread(_has_size, record.path, record.size):
                existing = await asyncio.to_thread(_existing, files)
            if len(existing) < len(files) and has_expired(record):
                task = await self._api.status(task.task_id)
        if names.thumbnails is not None:
            await self._keep_thumbnail(task, names.thumbnails, is_new=not existing)
        with ExitStack() as reserved:
            overwrite = False
            find_earlier: FindEarlier | None = None
            if not existing:
                name = names.name(task, outcome, self._names_taken)
                named = reserved.enter_context(name)
                files, overwrite = result_paths(task, named.path), named.is_own
                # An earlier run may have died before it recorded the file.
                if record is not None:
                    find_earlier = partial(_find_twin, named.lookalikes, self._began_at)
            fetching = self._fetch(task, files, existing, find_earlier, overwrite=overwrite)
            main: Path | None = None
            async for path, fetched in fetching:
                outcome.paths += (path,)
                if main is None:
                    main = path
                    # The task's end may have been recorded with the download. Report the
                    # journal's time, as later runs do.
                    record = record or await self._journal.find_task(task.task_id)
                    self._report(task, path, fetched, record)
            if self._verify == "probe" and main and can_probe(main):
                await self._probe(task, main, outcome)

    async def _keep_thumbnail(self, task: Task, folder: Path, *, is_new: bool) -> None:
        """Save a video's thumbnail, named after the task id, if the thumbnail can be fetched.

        Args:
            task: the video's task.
            folder: the folder for thumbnails.
            is_new: whether the video is about to be downloaded, so it has no thumbnail yet.
        """
        url = task.thumbnail_url
        if not (url and task.video_url):  # an image needs no thumbnail
            return
        path = thumbnail_path(task.task_id, url, folder)
        if (is_new or not _exists(path)) and (data := await self._downloads.fetch_picture(url)):
            _save(path, data)

    async def _probe(self, task: Task, path: Path, outcome: Outcome[Any]) -> None:
        """Add any differences between a file and its request to the outcome. Keep the file."""
        differences = await asyncio.to_thread(verify_file, path, outcome.request)
        if differences:
            outcome.mismatches += tuple(f"{path} {mismatch}" for mismatch in differences)
            if self._emit is not None:
                self._emit(Mismatched(task.task_id, path, differences))

    async def _fetch(
        self,
        task: Task,
        files: Mapping[str, Path],
        existing: Container[Path] = (),
        find_earlier: FindEarlier | None = None,
        *,
        overwrite: bool,
    ) -> AsyncGenerator[tuple[Path, DownloadedFile | None]]:
        """Yield each of a task's files once it is on disk, starting with the main file.

        The main file is also in the journal by then. Each path comes with its DownloadedFile, or
        with None if an existing file was kept.

        Args:
            task: a task that succeeded.
            files: the target paths, by the result's field.
            existing: paths that are already on disk and are kept.
            find_earlier: finds an existing file with the same bytes as the main file. That file is
                used under its own name.
            overwrite: whether to replace existing files.
        """
        # 1. Request the task's URL. If it is gone, it may have expired, so query Keevx once for a
        #    new one: that is free, and faster than waiting.
        # 2. A host may return 403 or 404 for a result made a moment ago. So the second URL is
        #    requested under the RetryPolicy, unless the task is known to have ended long ago.
        main = next(iter(files))
        files = dict(files)
        for name in tuple(files):
            path, fetched = files[name], None
            if path not in existing:
                fetch = partial(
                    self._downloads.fetch,
                    target=path,
                    overwrite=overwrite,
                    expected=name.removesuffix("_url"),
                    find_earlier=find_earlier if name == main else None,
                )
                try:
                    fetched = await fetch(url_of(task, name))
                except GoneError:
                    record = await self._journal.find_task(task.task_id)
                    is_new = record is None or time.time() - record.at < NEW_FOR
                    task = await self._api.status(task.task_id)
                    fetched = await fetch(url_of(task, name), is_new=is_new)
                if name == main:
                    if fetched.path != path:  # an earlier run saved it
                        path = fetched.path
                        files.update(result_paths(task, path))
                        existing = await asyncio.to_thread(_existing, files)
                    await self._journal.mark_downloaded(task, path, fetched.size, fetched.digest)
            yield path, fetched

    def _report(
        self, task: Task, path: Path, fetched: DownloadedFile | None, record: TaskRecord | None
    ) -> None:
        if self._emit is None:
            return
        size, digest = (record and (record.size, record.digest)) or (None, None)
        if fetched is not None:
            size, digest = fetched.size, fetched.digest
        ended_at = time.time() if record is None else record.at
        self._emit(Downloaded(task.task_id, path, size or 0, digest or "", ended_at))


def _find_twin(lookalikes: Sequence[Path], before: float, size: int, digest: str) -> Path | None:
    """Return an earlier run's file with the given size and digest; None if there is none.

    Args:
        lookalikes: the files to compare.
        before: seconds since the epoch; only files older than this are considered.
        size: the size in bytes.
        digest: the SHA-256 digest in hexadecimal.
    """
    for earlier in lookalikes:
        with suppress(OSError):
            status = earlier.stat()
            if status.st_size == size and status.st_mtime < before:
                with open(earlier, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                        return earlier
    return None


def has_expired(record: TaskRecord) -> bool:
    """Return whether a task's result URLs have expired, which they do after 7 days."""
    return record.task.succeeded and time.time() - record.at > URL_LIFE


def url_of(task: Task, field: str) -> str:
    """Return the URL of one of a task's results.

    Args:
        task: a task that has ended.
        field: the result's field, such as ``video_url``.

    Raises:
        DownloadError: the task has no such result.
    """
    if field not in task.results:
        reason = task.error_message or f"its status is {task.status}"
        what = field.removesuffix("_url")
        raise DownloadError(f"task {task.task_id} has no {what} to download: {reason}")
    return task.results[field]


def _save(path: Path, data: bytes) -> None:
    """Write a small file, completely or not at all. Errors are ignored."""
    part = path.with_name(f".{path.name}.part")
    with suppress(OSError):
        try:
            part.write_bytes(data)
        except FileNotFoundError:  # cheaper than a mkdir() before each file
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
        part.replace(path)


def _has_size(path: Path, size: int | None) -> bool:
    if isinstance(path, ObjectPath):
        return size is not None and object_size(path) == size
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _existing(files: Mapping[str, Path]) -> list[Path]:
    return [path for path in files.values() if _exists(path)]


def _exists(path: Path) -> bool:
    if isinstance(path, ObjectPath):
        return object_size(path) is not None
    return os.path.exists(path)  # never raises
