"""The API origin: creates and status queries of every kind."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs
from aiohttp import web

from .callbacks import Announcer
from .endpoints import KINDS
from .limits import retry_after
from .records import EmulatedTask, Kind
from .responses import (
    AFTER_CREATE,
    LOSSES,
    Refused,
    answer,
    drop,
    encode,
    html,
    refusal,
)
from .state import State
from .uploads import UPLOAD_PATH, Uploads
from .vendor_rules import PARAMETER

# The vendor's codes: its skill pages, section "errors".
INVALID_TOKEN, TASK_NOT_FOUND = 100002, 100003


def application(state: State, announcer: Announcer) -> web.Application:
    """The API as an aiohttp application."""
    app = web.Application()
    for kind in KINDS:
        endpoint = Endpoint(state, announcer, kind)
        app.router.add_post(kind.path, endpoint.create)
        for name in kind.lists:  # before the ids, which any word might be
            app.router.add_get(f"{kind.path}/{name}", endpoint.list, allow_head=False)
        app.router.add_get(kind.path + "/{task_id}", endpoint.status, allow_head=False)
    app.router.add_post(UPLOAD_PATH, Uploads(state, authorize).upload)
    app.router.add_route("*", "/{path:.*}", Elsewhere(state).unknown)
    return app


def authorize(state: State, request: web.Request) -> None:
    """Refuse a request without the key (without any, when the emulator has none of its own)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    known = token == state.api_key if state.api_key is not None else token.strip() != ""
    if scheme.lower() != "bearer" or not known:
        raise Refused("auth", 401, INVALID_TOKEN, "invalid token")


@attrs.frozen
class Elsewhere:
    """Every other path."""

    state: State

    async def unknown(self, request: web.Request) -> web.StreamResponse:
        """Answer 404 in the envelope."""
        self.state.requests["elsewhere"] += 1
        return refusal(self.state, Refused("path", 404, 404, f"no such path: {request.path}"))


@attrs.frozen
class Endpoint:
    """The handlers of one kind."""

    state: State
    announcer: Announcer
    kind: Kind

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST: make tasks, or refuse; then answer, or lose the answer."""
        self.state.requests[f"POST {self.kind.path}"] += 1
        raw = await request.read()
        try:
            loss, body = self._created(request, raw)
        except Refused as refused:
            await self.state.lag()
            return refusal(self.state, refused)
        await self.state.lag()
        return await LOSSES[loss](request, self.state, body) if loss else answer(body)

    def _created(self, request: web.Request, raw: bytes) -> tuple[str | None, bytes]:
        """The answer's body, and the way in which it is lost, if it is."""
        authorize(self.state, request)
        self._pace()
        body = self._read(raw)
        prompt = self.kind.subject(body)
        self._refuse(prompt)
        if self.state.strike("drop_before_create", prompt, family="loss"):
            return "drop_before_create", b""
        tasks = self.state.make(self.kind, body, raw)
        self.announcer.expect(tasks, body.get("callback_url"))
        return self._loss(prompt), encode(self.kind.answer(tasks))

    def _pace(self) -> None:
        rate, burst = self.state.faults.rate, self.state.faults.burst
        bucket, now = self.state.create_bucket, self.state.clock()
        if rate is not None and not bucket.take(now, rate, burst):
            raise self._too_many("rate")

    def _too_many(self, reason: str) -> Refused:
        headers = retry_after(self.state.faults.retry_after)
        return Refused(reason, 429, 429, "too many requests", headers)

    def _read(self, raw: bytes) -> dict[str, Any]:
        """The body as the rules allow it; null is read as not given."""
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError):
            raise self._invalid(raw[:1000], PARAMETER, "body is not JSON") from None
        if not isinstance(parsed, dict):
            raise self._invalid(parsed, PARAMETER, "body is not an object")
        body = cast("dict[str, Any]", parsed)
        given = {name: value for name, value in body.items() if value is not None}
        if broken := self.kind.rules(given):
            raise self._invalid(body, *broken)
        return given

    def _invalid(self, body: object, code: int, message: str) -> Refused:
        self.state.refuse_body(body, message)
        return Refused("invalid", 400, code, message)

    def _refuse(self, prompt: str) -> None:
        if self.state.strike("refuse", prompt, family="refuse"):
            faults = self.state.faults
            raise Refused("fault", faults.refuse_status, faults.refuse_code, faults.refuse_message)

    def _loss(self, prompt: str) -> str | None:
        strike = self.state.strike
        return next((name for name in AFTER_CREATE if strike(name, prompt, family="loss")), None)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET: a list that is the same for all."""
        self.state.requests[f"GET {request.path}"] += 1
        await self.state.lag()
        try:
            authorize(self.state, request)
        except Refused as refused:
            return refusal(self.state, refused)
        listed = self.kind.lists[request.path.rpartition("/")[2]]
        return answer({"code": 0, "msg": "success", "data": listed})

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET: what has become of a task."""
        task_id = request.match_info["task_id"]
        self.state.requests[f"GET {self.kind.path}"] += 1
        self.state.polls[task_id] += 1
        await self.state.lag()
        if self.state.chance("drop_polls", task_id):
            return drop(request)
        if self.state.chance("poll_errors", task_id):
            return html(500)
        if self.state.chance("poll_html", task_id):
            return html(200)
        try:
            return answer(encode(self.state.report(self._known(request, task_id))))
        except Refused as refused:
            return refusal(self.state, refused)

    def _known(self, request: web.Request, task_id: str) -> EmulatedTask:
        state, faults, now = self.state, self.state.faults, self.state.clock()
        authorize(state, request)
        if state.chance("poll_unauthorized", task_id):
            raise Refused("auth", 401, INVALID_TOKEN, "invalid token")
        rate, burst = faults.poll_rate, faults.poll_burst
        if rate is not None and not state.poll_bucket.take(now, rate, burst):
            raise self._too_many("poll_rate")
        task = state.tasks.get(task_id)
        hidden = task is not None and now < task.created + faults.not_found_for
        if task is None or hidden or task.kind is not self.kind:
            raise Refused("not_found", 404, TASK_NOT_FOUND, "task not found")
        return task
