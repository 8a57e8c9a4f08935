"""The Emulator's faults: settings that may be changed while the emulator runs."""

from __future__ import annotations

from collections.abc import Callable, Container
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import attrs

Which: TypeAlias = float | Callable[[str], bool] | Container[str]
"""The subjects that a fault strikes: a share from 0 to 1, a predicate, or a container of
subjects."""

CallbackFault: TypeAlias = Literal["drop", "twice", "delay"] | None
"""A fault that affects every callback: it is lost, sent twice, or sent late."""
_CALLBACKS = (None, "drop", "twice", "delay")


REFUSALS: dict[int, tuple[int, str]] = {
    400: (100001, "Parameter error"),
    401: (100002, "invalid token"),
    403: (100002, "invalid token"),
    404: (100003, "task not found"),
    413: (100004, "image size exceeded"),
    429: (429, "too many requests"),
}
"""The envelope's code and message for each HTTP status of a refusal (keevx-api.md, "Errors")."""


def lot(seed: int, *words: str) -> float:
    """Return a number in [0, 1) that depends only on the arguments and is the same in every run."""
    text = "\x1f".join((str(seed), *words))
    # In JSON, a prompt may contain a lone surrogate.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def struck(which: Which, subject: str, draw: Callable[[], float]) -> bool:
    """Return whether a fault strikes a subject.

    Args:
        which: the subjects that the fault strikes.
        subject: a prompt, a task id, a file name or a URL.
        draw: returns a number in [0, 1); called only for a share between 0 and 1.
    """
    # 0 and 1 need no draw, so switching a fault on or off does not shift later draws.
    if isinstance(which, (int, float)):
        return which >= 1 or (which > 0 and draw() < which)
    if callable(which):
        return bool(which(subject))
    if isinstance(which, str):  # one prompt, not its substrings
        return subject == which
    return subject in which


def _validate(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    name = attribute.name
    if str(attribute.type) == "CallbackFault":
        if value not in _CALLBACKS:
            raise ValueError(f"{name} must be one of {_CALLBACKS} (got {value!r})")
    elif isinstance(value, (int, float)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1 (got {value!r})")
    elif not (callable(value) or isinstance(value, Container)):
        raise TypeError(f"{name} must be a share, a callable or a container (got {value!r})")


def validate_fields(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Return the fields with a validator for each ``Which`` and ``CallbackFault``.

    attrs also runs the validators when a field is set later.
    """
    return [
        field.evolve(validator=_validate if str(field.type) in ("Which", "CallbackFault") else None)
        for field in fields
    ]


@attrs.define(kw_only=True, field_transformer=validate_fields)
class Faults:
    """The faults that the Emulator injects. All are off by default and may be set at any time.

    A `Which` is a share from 0 to 1, a callable or a container. A share of prompts is selected by
    hashing the seed and the prompt, so every run selects the same prompts.

    All API responses
        `latency`: seconds before each response, a number or a (low, high) range.
    Creates that are refused and make no task
        `refuse`: prompts refused at their first create, with `refuse_status` (HTTP). The envelope
        has `refuse_code` and `refuse_message`, by default those that Keevx sends with that status.
        `rate`: creates accepted per second; others get a 429. `burst` is the capacity of the
        bucket, by default a tenth of the rate, but at least 1.
        `no_funds_after`: the number of creates that the account can pay for; others get a 402.
        `retry_after`: the Retry-After header of a 429 or 402: seconds, or "date" for an HTTP date;
        None to omit it.
    Creates whose response is lost; a prompt is struck by at most one of these
        `drop_before_create`: no task, connection dropped.
        `drop_after_create`: task made, connection dropped.
        `error_after_create`: task made, 502 with HTML.
        `silent_after_create`: task made, no response.
        `garbage_after_create`: task made, 200 with an unreadable body.
        `half_answer`: task made, connection dropped in the middle of the response's body.
    Status queries; a share is drawn again at each query, and a callable receives the task id
        `poll_rate`, `poll_burst`: like `rate` and `burst`; `retry_after` applies to them too.
        `drop_polls`: connection dropped. `poll_errors`: 500 with HTML. `poll_html`: 200 with HTML.
        `poll_unauthorized`: 401. `not_found_for`: seconds for which a new task returns 404.
        `unknown_status`: the status to report instead of PROCESSING.
        `fail_message`: the `error_message` of a task that fails.
    Uploads; a callable receives the file's name
        `upload_errors`: 500 with HTML at the first upload.
    Storage; a callable receives the file's URL
        `cut_downloads`: connection dropped after half of the requested bytes, once for each URL.
        `redirect_downloads`: 302 to another origin. `expired`: 403.
    Callbacks
        `callbacks`: "drop" (none is sent), "twice", or "delay" (late by `callback_delay` seconds).
    `once`: False makes `refuse`, lost responses, `upload_errors` and `cut_downloads` strike every
    time, not only once.

    Raises:
        ValueError: a share is not from 0 to 1, or `callbacks` is an unknown word.
        TypeError: a `Which` is not a share, a callable or a container.
    """

    latency: float | tuple[float, float] = 0.0
    refuse: Which = 0.0
    refuse_status: int = 500
    refuse_code: int | None = None
    refuse_message: str | None = None
    rate: float | None = None
    burst: float | None = None
    no_funds_after: int | None = None
    retry_after: float | Literal["date"] | None = None
    drop_before_create: Which = 0.0
    drop_after_create: Which = 0.0
    error_after_create: Which = 0.0
    silent_after_create: Which = 0.0
    garbage_after_create: Which = 0.0
    half_answer: Which = 0.0
    poll_rate: float | None = None
    poll_burst: float | None = None
    drop_polls: Which = 0.0
    poll_errors: Which = 0.0
    poll_html: Which = 0.0
    poll_unauthorized: Which = 0.0
    not_found_for: float = 0.0
    unknown_status: str | None = None
    fail_message: str = "generation failed: the emulator was set to fail it"
    upload_errors: Which = 0.0
    cut_downloads: Which = 0.0
    redirect_downloads: Which = 0.0
    expired: Which = 0.0
    callbacks: CallbackFault = None
    callback_delay: float = 0.1
    once: bool = True

    def refusal(self) -> tuple[int, str]:
        """Return the code and the message that `refuse` sends."""
        # Keevx refuses with 200 as well as with 500; in both cases only the envelope's code says
        # why.
        status = self.refuse_status
        code, message = REFUSALS.get(
            status, (status, "refused") if 400 <= status < 500 else (530003, "server busy")
        )
        return (
            code if self.refuse_code is None else self.refuse_code,
            message if self.refuse_message is None else self.refuse_message,
        )
