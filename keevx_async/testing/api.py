"""The emulated API: creates, status queries and lists for every kind of job, and uploads."""

from __future__ import annotations

import json
from itertools import count
from typing import Any, cast

import attrs
from aiohttp import web

from .callbacks import Announcer
from .endpoints import KINDS
from .limits import retry_after
from .records import EmulatedTask, Kind
from .replay import Recording, ids_of
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

# The vendor's codes, from the "errors" section of its skill pages.
INVALID_TOKEN, UNKNOWN_TASK = 100002, 100003
# The vendor documents no code for an empty account; 402 is HTTP's.
NO_FUNDS = 402


def application(state: State, announcer: Announcer) -> web.Application:
    """Return the API as an aiohttp application.

    Each row of ``KINDS`` defines the routes for its creates, status queries and lists. Every
    response has an ``X-Request-Id``, like those that gateways add.
    """
    app = web.Application()
    for kind in KINDS:
        endpoint = Endpoint(state, announcer, kind)
        app.router.add_post(kind.path, endpoint.create)
        for name in kind.lists:  # before the ids, because any word might be an id
            app.router.add_get(f"{kind.path}/{name}", endpoint.list, allow_head=False)
        app.router.add_get(kind.path + "/{task_id}", endpoint.status, allow_head=False)
    app.router.add_post(UPLOAD_PATH, Uploads(state, authorize).upload)
    app.router.add_route("*", "/{path:.*}", Elsewhere(state).unknown)
    numbers = count(1)

    async def number(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Request-Id"] = f"emulated-{next(numbers)}"

    app.on_response_prepare.append(number)
    return app


def authorize(state: State, request: web.Request) -> None:
    """Check a request's key. If ``api_key`` is None, any key is accepted.

    Raises:
        Refused: with 401, if the key is missing or wrong.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    valid = token == state.api_key if state.api_key is not None else token.strip() != ""
    if scheme.lower() != "bearer" or not valid:
        raise Refused("auth", 401, INVALID_TOKEN, "invalid token")


@attrs.frozen
class Elsewhere:
    """Handles requests to all other paths."""

    state: State

    async def unknown(self, request: web.Request) -> web.StreamResponse:
        """Return 404 in the envelope, and count the request as "elsewhere"."""
        self.state.requests["elsewhere"] += 1
        return refusal(self.state, Refused("path", 404, 404, f"no such path: {request.path}"))


@attrs.frozen
class Endpoint:
    """Handles requests for one kind of job."""

    state: State
    announcer: Announcer
    kind: Kind

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Handle a POST: make tasks or refuse the create, then send the response or lose it.

        If the response to a successful create is lost, its tasks still exist, as at the vendor.
        """
        self.state.requests[f"POST {self.kind.path}"] += 1
        raw = await request.read()
        try:
            if (recording := self.state.recording) is not None:
                response = self._replayed(request, raw, recording)
                await self.state.lag()
                return response
            loss, body = self._created(request, raw)
        except Refused as refused:
            await self.state.lag()
            return refusal(self.state, refused)
        await self.state.lag()
        return await LOSSES[loss](request, self.state, body) if loss else answer(body)

    def _created(self, request: web.Request, raw: bytes) -> tuple[str | None, bytes]:
        """Make tasks; return the fault that loses the response, if any, and the response's body."""
        # 1. A wrong key, the rate limit, an invalid body, an empty account and the fault "refuse":
        #    no task is made, and the response says so.
        # 2. drop_before_create: no task is made, and there is no response.
        # 3. The tasks are made, and one of AFTER_CREATE may lose the response. The client cannot
        #    tell cases 2 and 3 apart, so it must not send the create again.
        state, faults = self.state, self.state.faults
        authorize(state, request)
        now, bucket = state.clock(), state.create_bucket
        if faults.rate is not None and not bucket.take(now, faults.rate, faults.burst):
            raise self._too_many("rate")
        body = self._read(raw)
        if faults.no_funds_after is not None and state.creates.total() >= faults.no_funds_after:
            headers = retry_after(faults.retry_after)
            raise Refused("funds", 402, NO_FUNDS, "insufficient balance", headers)
        prompt = self.kind.subject(body)
        if state.strike("refuse", prompt, family="refuse"):
            raise Refused("fault", faults.refuse_status, *faults.refusal())
        if state.strike("drop_before_create", prompt, family="loss"):
            return "drop_before_create", b""
        tasks = state.make(self.kind, body, raw)
        self.announcer.expect(tasks, body.get("callback_url"))
        losses = (name for name in AFTER_CREATE if state.strike(name, prompt, family="loss"))
        return next(losses, None), encode(self.kind.answer(tasks))

    def _replayed(
        self, request: web.Request, raw: bytes, recording: Recording
    ) -> web.StreamResponse:
        """Return a create's recorded response, and make its tasks."""
        # The recorded response decides, so neither faults nor the vendor's rules apply. A create
        # that is not in the recording is refused.
        authorize(self.state, request)
        try:
            fields: dict[str, Any] = json.loads(raw)
            recorded = recording.take(self.kind.path, fields)
        except (ValueError, AttributeError):
            raise self._invalid(raw[:1000], PARAMETER, "body is not a JSON object") from None
        if recorded is None:
            what = f"{recording.name} has no answer to this create, or no further one"
            raise Refused("unrecorded", 400, PARAMETER, what)
        if recorded.status is None:
            return drop(request)
        if task_ids := ids_of(recorded):
            tasks = self.state.add(self.kind, fields, raw, task_ids)
            self.announcer.expect(tasks, fields.get("callback_url"))
        else:
            self.state.refused["recorded"] += 1
        headers = retry_after(recorded.retry_after)
        if isinstance(recorded.body, str):
            text, status = recorded.body, recorded.status
            return web.Response(text=text, status=status, headers=headers, content_type="text/html")
        return answer(json.dumps(recorded.body).encode(), recorded.status, headers)

    def _too_many(self, reason: str) -> Refused:
        headers = retry_after(self.state.faults.retry_after)
        return Refused(reason, 429, 429, "too many requests", headers)

    def _read(self, raw: bytes) -> dict[str, Any]:
        """Return the fields of a valid body, without nulls."""
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError):
            raise self._invalid(raw[:1000], PARAMETER, "body is not JSON") from None
        if not isinstance(parsed, dict):
            raise self._invalid(parsed, PARAMETER, "body is not an object")
        body = cast("dict[str, Any]", parsed)
        fields = {name: value for name, value in body.items() if value is not None}
        if broken := self.kind.rules(fields):
            raise self._invalid(body, *broken)
        return fields

    def _invalid(self, body: object, code: int, message: str) -> Refused:
        self.state.refuse_body(body, message)
        return Refused("invalid", 400, code, message)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Handle a GET: return a list that all accounts share, such as the target languages."""
        self.state.requests[f"GET {request.path}"] += 1
        await self.state.lag()
        try:
            authorize(self.state, request)
        except Refused as refused:
            return refusal(self.state, refused)
        items = self.kind.lists[request.path.rpartition("/")[2]]
        return answer({"code": 0, "msg": "success", "data": items})

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Handle a GET: return a task's status and result, subject to the query faults."""
        task_id = request.match_info["task_id"]
        self.state.requests[f"GET {self.kind.path}"] += 1
        self.state.polls[task_id] += 1
        await self.state.lag()
        # At most one fault per query: a dropped query cannot also return 500.
        if self.state.chance("drop_polls", task_id):
            return drop(request)
        if self.state.chance("poll_errors", task_id):
            return html(500)
        if self.state.chance("poll_html", task_id):
            return html(200)
        try:
            task = self._visible(request, task_id)
            report = self.state.report(task)
            if len(task.timeline) > 1:
                task.timeline.pop(0)
                self.announcer.moved(task)
            return answer(encode(report))
        except Refused as refused:
            return refusal(self.state, refused)

    def _visible(self, request: web.Request, task_id: str) -> EmulatedTask:
        """Return the queried task. Raise Refused if this query cannot see it."""
        state, faults, now = self.state, self.state.faults, self.state.clock()
        authorize(state, request)
        if state.chance("poll_unauthorized", task_id):
            raise Refused("auth", 401, INVALID_TOKEN, "invalid token")
        # A query refused by the rate limit does not reveal whether the task exists.
        rate, burst = faults.poll_rate, faults.poll_burst
        if rate is not None and not state.poll_bucket.take(now, rate, burst):
            raise self._too_many("poll_rate")
        task = state.tasks.get(task_id)
        hidden = task is not None and now < task.created + faults.not_found_for
        if task is None or hidden or task.kind is not self.kind:
            raise Refused("not_found", 404, UNKNOWN_TASK, "task not found")
        return task
