"""The emulator's settings and books, which every part of it reads and writes."""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import attrs
from multidict import CIMultiDictProxy

from .faults import Faults, Which, lot, struck
from .limits import Bucket
from .records import (
    FAILED,
    SUCCEEDED,
    EmulatedTask,
    Invalid,
    Kind,
    Upload,
)

_REMEMBERED = 1000  # entries of a list; what comes later is only counted
_KEPT_BYTES = 64 * 2**20  # of uploads served again


def _faults(given: Faults | None) -> Faults:
    return Faults() if given is None else given


def _which(given: Which | None) -> Which:
    return () if given is None else given


@attrs.define(eq=False, repr=False)
class State:
    """Settings first, books after them."""

    seconds: float = 0.2
    spread: float = attrs.field(default=0.0, kw_only=True)
    host: str = attrs.field(default="127.0.0.1", kw_only=True)
    port: int = attrs.field(default=0, kw_only=True)
    api_key: str | None = attrs.field(default=None, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)
    video_bytes: int = attrs.field(default=20_000, kw_only=True)
    faults: Faults = attrs.field(default=None, kw_only=True, converter=_faults)
    fail_prompts: Which = attrs.field(default=None, kw_only=True, converter=_which)

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

    @property
    def url(self) -> str:
        """The API's origin."""
        return self._origin("api")

    @property
    def storage_url(self) -> str:
        """The origin of videos, thumbnails and uploads."""
        return self._origin("storage")

    @property
    def mirror_url(self) -> str:
        """The origin that redirected downloads are sent to."""
        return self._origin("mirror")

    def _origin(self, name: str) -> str:
        # An empty URL would let a client fall back to the real, paid API.
        if name not in self._origins:
            raise RuntimeError("the emulator is not started: use `async with` or start()")
        return self._origins[name]

    def make(self, kind: Kind, body: Mapping[str, Any], raw: bytes) -> list[EmulatedTask]:
        """Make the tasks of one paid create."""
        prompt = kind.subject(body)
        self.creates[prompt] += 1
        self.unknown_fields.update(body.keys() - kind.fields)
        tasks = [self._task(kind, prompt, raw) for _ in range(body.get("generate_count", 1))]
        self.tasks.update((task.task_id, task) for task in tasks)
        return tasks

    def _task(self, kind: Kind, prompt: str, raw: bytes) -> EmulatedTask:
        number, now = self._made[prompt], self.clock()
        self._made[prompt] += 1
        return EmulatedTask(
            # Ids are never the same twice, even between two emulators: as in life.
            task_id=kind.prefix + uuid.uuid4().hex,
            kind=kind,
            prompt=prompt,
            number=number,
            raw=raw,
            created=now,
            ready_at=now + self._lasts(prompt, number),
            fails=struck(self.fail_prompts, prompt, lambda: lot(self.seed, "fail", prompt)),
            clock=self.clock,
        )

    def _lasts(self, prompt: str, number: int) -> float:
        """Seconds until the task ends: lognormal, by hash and so in no need of an order."""
        if not self.spread:
            return self.seconds
        radius, angle = (lot(self.seed, half, prompt, str(number)) for half in ("radius", "angle"))
        normal = math.sqrt(-2 * math.log(1 - radius)) * math.cos(math.tau * angle)
        return self.seconds * math.exp(self.spread * normal)

    def shown(self, task: EmulatedTask) -> str:
        """The status as the API tells it."""
        status = task.status
        _, processing = task.kind.working
        return self.faults.unknown_status or status if status == processing else status

    def report(self, task: EmulatedTask) -> dict[str, Any]:
        """The answer to a status query."""
        status = self.shown(task)
        data = {"task_id": task.task_id, "status": status, **task.kind.blank, "error_message": ""}
        if status == SUCCEEDED:
            data |= self.result(task)
        elif status == FAILED:
            data["error_message"] = "generation failed: the emulator was told so"
        return data

    def result(self, task: EmulatedTask) -> dict[str, Any]:
        """What a task tells when it has succeeded."""
        return task.kind.result(task, self.storage_url)

    def strike(self, fault: str, subject: str, *, family: str, key: str | None = None) -> bool:
        """Whether a fault strikes; a subject is struck once in a family, unless told otherwise."""
        which: Which = getattr(self.faults, fault)
        if isinstance(which, float) and which == 0.0:
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
        """Whether a lasting fault holds for a subject."""
        which: Which = getattr(self.faults, fault)
        holds = struck(which, subject, lambda: lot(self.seed, fault, key))
        self.strikes.update([fault] * holds)  # no entry for what never struck
        return holds

    def chance(self, fault: str, subject: str) -> bool:
        """Whether a fault strikes this time, drawn anew each time."""
        hit = struck(getattr(self.faults, fault), subject, self._random.random)
        self.strikes.update([fault] * hit)
        return hit

    async def lag(self) -> None:
        """Wait as long as the latency says, though not beyond the emulator's end."""
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
        """Remember a body refused as invalid."""
        if len(self.invalid) < _REMEMBERED:
            self.invalid.append(Invalid(body, reason))

    def saw(self, headers: CIMultiDictProxy[str]) -> None:
        """Remember the headers that reached a storage origin."""
        if len(self.storage_headers) < _REMEMBERED:
            self.storage_headers.append(headers)
        if "Authorization" in headers and len(self.storage_authorizations) < _REMEMBERED:
            self.storage_authorizations.append(headers["Authorization"])

    def keep(self, name: str, content: bytes, content_type: str) -> Upload:
        """Remember an upload; its content only while there is room."""
        file_id = uuid.uuid4().hex
        extension = content_type.partition("/")[2]
        upload = Upload(
            url=f"{self.storage_url}/uploads/{file_id}.{extension}",
            file_id=file_id,
            name=name,
            size=len(content),
            digest=sha256(content).hexdigest(),
            content_type=content_type,
        )
        self.uploads[upload.url] = upload
        if self._content_bytes + upload.size <= _KEPT_BYTES:
            self._content_bytes += upload.size
            self._contents[upload.url] = content
        return upload

    def content(self, url: str) -> bytes | None:
        """The content of an upload, if it was kept."""
        return self._contents.get(url)
