"""The Emulator's settings and records, which all of its handlers share."""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from multidict import CIMultiDictProxy

from .faults import Faults, Which, lot, struck
from .limits import Bucket
from .records import FAILED, SUCCEEDED, EmulatedTask, Invalid, Kind, Report, Upload
from .replay import Recording

_MAX_RECORDED = 1000  # entries of a list; later entries are dropped
_MAX_KEPT_BYTES = 64 * 2**20  # bytes of uploads, which storage serves


def _no_faults_if_none(faults: Faults | None) -> Faults:
    return Faults() if faults is None else faults


def _nothing_if_none(which: Which | None) -> Which:
    return () if which is None else which


@attrs.define(eq=False, repr=False)
class State:
    """The settings, followed by the records. ``Emulator`` documents both."""

    seconds: float = 0.2
    spread: float = attrs.field(default=0.0, kw_only=True)
    host: str = attrs.field(default="127.0.0.1", kw_only=True)
    port: int = attrs.field(default=0, kw_only=True)
    api_key: str | None = attrs.field(default=None, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)
    video_bytes: int = attrs.field(default=20_000, kw_only=True)
    faults: Faults = attrs.field(default=None, kw_only=True, converter=_no_faults_if_none)
    fail_prompts: Which = attrs.field(default=None, kw_only=True, converter=_nothing_if_none)
    timelines: dict[str, Sequence[str]] = attrs.field(
        factory=dict[str, Sequence[str]], kw_only=True
    )

    replay: str | Path | None = attrs.field(default=None, kw_only=True)
    speed: float = attrs.field(default=1.0, kw_only=True)

    recording: Recording | None = attrs.field(init=False, default=None)
    creates: Counter[str] = attrs.field(init=False, factory=Counter[str])
    tasks: dict[str, EmulatedTask] = attrs.field(init=False, factory=dict[str, EmulatedTask])
    requests: Counter[str] = attrs.field(init=False, factory=Counter[str])
    refused: Counter[str] = attrs.field(init=False, factory=Counter[str])
    polls: Counter[str] = attrs.field(init=False, factory=Counter[str])
    strikes: Counter[str] = attrs.field(init=False, factory=Counter[str])
    callbacks: Counter[str] = attrs.field(init=False, factory=Counter[str])
    unknown_fields: Counter[str] = attrs.field(init=False, factory=Counter[str])
    invalid: list[Invalid] = attrs.field(init=False, factory=list[Invalid])
    uploads: dict[str, Upload] = attrs.field(init=False, factory=dict[str, Upload])
    storage_headers: list[CIMultiDictProxy[str]] = attrs.field(
        init=False, factory=list[CIMultiDictProxy[str]]
    )
    storage_authorizations: list[str] = attrs.field(init=False, factory=list[str])

    create_bucket: Bucket = attrs.field(init=False, factory=Bucket)
    poll_bucket: Bucket = attrs.field(init=False, factory=Bucket)
    closing: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    clock: Callable[[], float] = attrs.field(init=False, default=time.monotonic)
    _struck: set[tuple[str, str]] = attrs.field(init=False, factory=set[tuple[str, str]])
    _made: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _contents: dict[str, bytes] = attrs.field(init=False, factory=dict[str, bytes])
    _content_bytes: int = attrs.field(init=False, default=0)
    _random: random.Random = attrs.field(init=False)
    _origins: dict[str, str] = attrs.field(init=False, factory=dict[str, str])

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        if not 0 < self.speed < math.inf:
            raise ValueError(f"speed must be a number above 0 (got {self.speed!r})")
        if self.replay is not None:
            self.recording = Recording.read(self.replay)

    @property
    def url(self) -> str:
        """The API's URL, to pass as ``base_url``. Raises RuntimeError before the start."""
        return self._origin("api")

    @property
    def storage_url(self) -> str:
        """The URL of the storage server, which serves videos, thumbnails and uploads."""
        return self._origin("storage")

    @property
    def mirror_url(self) -> str:
        """The URL to which downloads are redirected."""
        return self._origin("mirror")

    def _origin(self, name: str) -> str:
        # With an empty URL, a client would use its default, which is the real, paid API.
        if name not in self._origins:
            raise RuntimeError("the emulator has not been started: use `async with` or start()")
        return self._origins[name]

    def make(self, kind: Kind, body: Mapping[str, Any], raw: bytes) -> list[EmulatedTask]:
        """Make a paid create's tasks, and count the create.

        Args:
            kind: the kind of job.
            body: the valid fields of the create.
            raw: the body as received.
        """
        # Unique even across emulators, like real ids.
        count = body.get("generate_count", 1)
        return self.add(kind, body, raw, [kind.prefix + uuid.uuid4().hex for _ in range(count)])

    def add(
        self, kind: Kind, body: Mapping[str, Any], raw: bytes, task_ids: Sequence[str]
    ) -> list[EmulatedTask]:
        """Add a paid create's tasks with the given ids, and count the create; see ``make``."""
        prompt = kind.subject(body)
        self.creates[prompt] += 1
        self.unknown_fields.update(body.keys() - kind.fields)
        tasks: list[EmulatedTask] = []
        for task_id in task_ids:
            number, now = self._made[prompt], self.clock()
            self._made[prompt] += 1
            task = EmulatedTask(
                task_id=task_id,
                kind=kind,
                prompt=prompt,
                number=number,
                raw=raw,
                created=now,
                ready_at=now + self.duration(prompt, number),
                fails=struck(self.fail_prompts, prompt, lambda: lot(self.seed, "fail", prompt)),
                clock=self.clock,
                timeline=list(self.timelines.get(prompt, ())),
                recorded=self._recorded(task_id, now),
            )
            tasks.append(task)
            self.tasks[task.task_id] = task
        return tasks

    def _recorded(self, task_id: str, now: float) -> tuple[Report, ...]:
        """Return the recorded reports of a task that is made now, with ``clock`` times."""
        reports = () if self.recording is None else self.recording.reports.get(task_id, ())
        return tuple(Report(now + each.at / self.speed, each.data) for each in reports)

    def duration(self, prompt: str, number: int) -> float:
        """Return a task's duration in seconds.

        Durations are lognormal (Box-Muller). They depend only on the seed and the arguments, not on
        the order in which tasks are made.
        """
        if not self.spread:
            return self.seconds
        radius, angle = (lot(self.seed, half, prompt, str(number)) for half in ("radius", "angle"))
        normal = math.sqrt(-2 * math.log(1 - radius)) * math.cos(math.tau * angle)
        return self.seconds * math.exp(self.spread * normal)

    def shown(self, task: EmulatedTask) -> str:
        """Return a task's status as the API reports it, subject to the fault ``unknown_status``."""
        status = task.status
        _, processing = task.kind.working
        return self.faults.unknown_status or status if status == processing else status

    def report(self, task: EmulatedTask) -> dict[str, Any]:
        """Return the data of a status query's response; a callback includes some of it."""
        if task.recorded:  # its results are served by storage, like all others
            data, result = task.report, self.result(task)
            urls = {name: url for name, url in result.items() if name.endswith("_url")}
            return data | {name: url for name, url in urls.items() if data.get(name)}
        status = self.shown(task)
        data = {"task_id": task.task_id, "status": status, **task.kind.blank, "error_message": ""}
        if status == SUCCEEDED:
            data |= self.result(task)
        elif status == FAILED:
            data["error_message"] = self.faults.fail_message
        return data

    def result(self, task: EmulatedTask) -> dict[str, Any]:
        """Return the fields that a task reports once it has succeeded."""
        return task.kind.result(task, self.storage_url)

    def strike(self, fault: str, subject: str, *, family: str, key: str | None = None) -> bool:
        """Return whether a fault strikes a subject; if it does, record the strike.

        A subject is struck at most once per family of faults, unless ``Faults.once`` is False.

        Args:
            fault: the name of the setting in ``Faults``.
            subject: the subject that is passed to a callable or looked up in a container.
            family: the name of a group of faults, of which only one strikes.
            key: the name used to draw a share, by default the subject; it must be the same in every
                run.
        """
        which: Which = getattr(self.faults, fault)
        if isinstance(which, float) and which == 0.0:  # off, as nearly always: no draw or record
            return False
        name = subject if key is None else key
        if self.faults.once and (family, name) in self._struck:
            return False
        if not struck(which, subject, lambda: lot(self.seed, fault, name)):
            return False
        self._struck.add((family, name))
        self.strikes[fault] += 1
        return True

    def holds(self, fault: str, subject: str, *, key: str) -> bool:
        """Return whether a permanent fault applies to a subject; the result never changes."""
        which: Which = getattr(self.faults, fault)
        holds = struck(which, subject, lambda: lot(self.seed, fault, key))
        self.strikes.update([fault] * holds)  # no entry for a fault that never struck
        return holds

    def chance(self, fault: str, subject: str) -> bool:
        """Return whether a fault strikes this time; a share is drawn again at each call."""
        hit = struck(getattr(self.faults, fault), subject, self._random.random)
        self.strikes.update([fault] * hit)
        return hit

    async def lag(self) -> None:
        """Wait for ``Faults.latency``, or until the emulator stops."""
        latency = self.faults.latency
        if isinstance(latency, tuple):
            latency = self._random.uniform(*latency)
        if latency > 0:
            try:
                async with asyncio.timeout(latency):
                    await self.closing.wait()
            except TimeoutError:
                pass

    def refuse_body(self, body: object, reason: str) -> None:
        """Record a body that was refused as invalid."""
        if len(self.invalid) < _MAX_RECORDED:
            self.invalid.append(Invalid(body, reason))

    def saw(self, headers: CIMultiDictProxy[str]) -> None:
        """Record the headers of a request that reached storage."""
        if len(self.storage_headers) < _MAX_RECORDED:
            self.storage_headers.append(headers)
        if "Authorization" in headers and len(self.storage_authorizations) < _MAX_RECORDED:
            self.storage_authorizations.append(headers["Authorization"])

    def keep(self, name: str, content: bytes, content_type: str) -> Upload:
        """Record an upload, and keep its content if there is room."""
        file_id = uuid.uuid4().hex
        extension = content_type.partition("/")[2]
        # The record is kept permanently, since tests count uploads. Content is kept only up to a
        # limit, since a long run uploads gigabytes.
        upload = Upload(
            url=f"{self.storage_url}/uploads/{file_id}.{extension}",
            file_id=file_id,
            name=name,
            size=len(content),
            digest=sha256(content).hexdigest(),
            content_type=content_type,
        )
        self.uploads[upload.url] = upload
        if self._content_bytes + upload.size <= _MAX_KEPT_BYTES:
            self._content_bytes += upload.size
            self._contents[upload.url] = content
        return upload

    def content(self, url: str) -> bytes | None:
        """Return the content of an upload, or None if it was not kept."""
        return self._contents.get(url)
