"""A recorded run that the Emulator replays: ``Emulator(replay=…)``.

``keevx run --record`` writes the file; docs/testing.md describes its lines.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import attrs

from .records import Report

# The recorder removes the same parts: queries, fragments and logins. It is not imported here.
_SIGNED = re.compile(r"(https?://)(?:[^\s/?#@\"'<>]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?")


class Answer(NamedTuple):
    """A recorded response to a create.

    Attributes:
        status: the HTTP status; None if no complete response arrived.
        body: the response's body.
        retry_after: its ``Retry-After`` in seconds; None if it had none.
    """

    status: int | None
    body: Any
    retry_after: float | None


@attrs.frozen
class Recording:
    """A run's exchanges, grouped by create and task.

    Attributes:
        name: the file's name.
        reports: each task's reports, in order.
    """

    name: str
    reports: dict[str, list[Report]]
    _exact: dict[str, deque[int]] = attrs.field(alias="exact")
    _similar: dict[str, deque[int]] = attrs.field(alias="similar")
    _answers: dict[int, Answer] = attrs.field(alias="answers")

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """Read a recording from a file.

        Raises:
            OSError: the file cannot be read.
            ValueError: a line does not belong to a recording; the message names the line.
        """
        lines: list[dict[str, Any]] = []
        with Path(path).open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                    _ = line["at"] + line["seconds"], line["method"].upper(), line["path"].upper()
                except (ValueError, TypeError, KeyError, AttributeError):
                    what = "is not a line of a recording, as keevx run --record writes it"
                    raise ValueError(f"{path}, line {number}, {what}") from None
                lines.append(line)
        return cls.of(str(path), lines)

    @classmethod
    def of(cls, name: str, lines: Iterable[Mapping[str, Any]]) -> Recording:
        """Create a recording from its parsed lines."""
        exact, similar = defaultdict[str, deque[int]](deque), defaultdict[str, deque[int]](deque)
        answers, began = dict[int, Answer](), dict[str, float]()
        reports = defaultdict[str, list[Report]](list)
        for number, line in enumerate(sorted(lines, key=lambda each: each["at"])):
            body, response = line.get("request"), line.get("response")
            if line["method"] == "POST" and isinstance(body, dict):
                fields = cast("dict[str, Any]", body)
                # A response that was cut off but is readable counts as complete.
                whole = "status" in line and ("reason" not in line or isinstance(response, dict))
                status = line["status"] if whole else None
                answers[number] = Answer(status, response, line.get("retry_after"))
                exact[_key(line["path"], fields)].append(number)
                similar[_key(line["path"], fields, urls=False)].append(number)
                for task_id in _ids_in(response):
                    began[task_id] = line["at"]
            elif line["method"] == "GET" and (data := _task_in(response, line["path"])):
                task_id = data["task_id"]
                after = line["at"] - began.setdefault(task_id, line["at"])
                reports[task_id].append(Report(after, data))
        return cls(name, dict(reports), dict(exact), dict(similar), answers)

    def take(self, path: str, fields: Mapping[str, Any]) -> Answer | None:
        """Return the next recorded response to a create; None if none is left.

        Creates are matched by path and body, ignoring the callback URL. If no body matches exactly,
        bodies are compared without URLs, because uploaded files have new URLs.
        """
        exact = self._exact.get(_key(path, fields), deque())
        similar = self._similar.get(_key(path, fields, urls=False), deque())
        for queue in (exact, similar):
            while queue:
                if (answer := self._answers.pop(queue.popleft(), None)) is not None:
                    return answer
        return None


def ids_of(answer: Answer) -> list[str]:
    """Return the task ids in a create's response; empty if no complete response arrived."""
    return _ids_in(answer.body) if answer.status is not None else []


def _ids_in(response: Any) -> list[str]:
    data = _data_of(response)
    items: list[object] = data if isinstance(data, list) else data.get("task_ids") or []
    ids = (_fields_of(item).get("task_id", item) for item in items)
    return [each for each in ids if isinstance(each, str)]


def _task_in(response: Any, path: str) -> dict[str, Any] | None:
    data = _data_of(response)
    is_task = isinstance(data, dict) and data.get("task_id") == path.rpartition("/")[2]
    return cast("dict[str, Any]", data) if is_task else None


def _data_of(response: Any) -> dict[str, Any] | list[object]:
    data = _fields_of(response).get("data")
    return cast("list[object]", data) if isinstance(data, list) else _fields_of(data)


def _fields_of(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _key(path: str, fields: Mapping[str, Any], *, urls: bool = True) -> str:
    """Return the key that identifies a create."""
    body: dict[str, Any] = {}
    for name, value in fields.items():
        text = _SIGNED.sub(r"\1\2", value) if isinstance(value, str) else value
        is_url = isinstance(text, str) and text.startswith(("http://", "https://"))
        if name != "callback_url" and (urls or not is_url):
            body[name] = text
    return json.dumps([path, body], sort_keys=True)
