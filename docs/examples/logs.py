"""Structured logs of a client's events: Keevx(on_event=log_event).

pip install keevx_async structlog
"""

from typing import Any

import structlog

from keevx_async.events import (
    Downloaded,
    Ended,
    Event,
    Exchange,
    Mismatched,
    Paused,
    Polled,
    Refused,
    Retrying,
    Submitted,
    Uncertain,
    Warned,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger("keevx")


def log_event(event: Event) -> None:
    """Write one line: a warning if a person must look at it, polls at debug level."""
    match event:
        case Polled():
            log.debug("polled", task_id=event.task_id, status=event.status)
        case Exchange():
            log.debug("exchange", key=event.key, attempt=event.attempt, status=event.status)
        case Submitted():
            log.info("submitted", key=event.key, task_ids=event.task_ids)
        case Retrying():
            log.info(
                "retrying",
                key=event.key,
                attempt=event.attempt,
                delay=event.delay,
                error=str(event.error),
            )
        case Paused():
            log.info("paused", seconds=event.seconds)
        case Ended():
            log.info("ended", **ended(event))
        case Downloaded():
            log.info("downloaded", task_id=event.task_id, path=str(event.path), size=event.size)
        case Warned():
            log.warning("warned", key=event.key, warnings=list(map(str, event.warnings)))
        case Mismatched():
            log.warning("mismatched", task_id=event.task_id, mismatches=event.mismatches)
        case Refused():
            log.warning("refused", key=event.key, error=str(event.error))
        case Uncertain():
            log.warning("uncertain", key=event.key, reason=event.reason)
        case _:
            log.debug("event", event_type=type(event).__name__)


def ended(event: Ended) -> dict[str, Any]:
    """Return the fields for a task's end, without its URL: anyone who has it can open the video."""
    task = event.task
    return {"task_id": task.task_id, "status": task.status, "error": task.error_message or None}
