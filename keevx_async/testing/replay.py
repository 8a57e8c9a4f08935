"""A recorded run, to be served again: ``Emulator(replay=…)``.

docs/testing.md describes the lines of the file, which ``keevx run --record`` writes.
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

_SIGNED = re.compile(r"(https?://)(?:[^\s/?#@\"'<>]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?")


class Answer(NamedTuple):
    """What Keevx answered to a create.

    Attributes:
        status: the HTTP status; None where no answer arrived, or only a part of one.
        body: the answer.
        retry_after: of its header, in seconds; None without.
    """

    status: int | None
    body: Any
    retry_after: float | None


@attrs.frozen
class Recording:
    """The exchanges of a run, by what they were about.

    Attributes:
        name: of the file.
        reports: of each task, in their order.
    """

    name: str
    reports: dict[str, list[Report]]
    _exact: dict[str, deque[int]] = attrs.field(alias="exact")
    _similar: dict[str, deque[int]] = attrs.field(alias="similar")
    _answers: dict[int, Answer] = attrs.field(alias="answers")

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """Return the recording in a file.

        Raises:
            OSError: it cannot be read.
            ValueError: a line is not that of a recording; the message names it.
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
        """Return the recording that these lines are."""
        exact, similar = defaultdict[str, deque[int]](deque), defaultdict[str, deque[int]](deque)
        answers, began = dict[int, Answer](), dict[str, float]()
        reports = defaultdict[str, list[Report]](list)
        for number, line in enumerate(sorted(lines, key=lambda each: each["at"])):
            body, response = line.get("request"), line.get("response")
            if line["method"] == "POST" and isinstance(body, dict):
                fields = cast("dict[str, Any]", body)
                # An answer that was cut off, but could be read, counts as a whole one.
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
        """Return the next recorded answer to a create; None if there is none left.

        A create is recognized by its path and body, but for its callback URL. Where no body is
        equal, URLs are left out: files that are uploaded have other URLs now.
        """
        exact = self._exact.get(_key(path, fields), deque())
        similar = self._similar.get(_key(path, fields, urls=False), deque())
        for queue in (exact, similar):
            while queue:
                if (answer := self._answers.pop(queue.popleft(), None)) is not None:
                    return answer
        return None


def ids_of(answer: Answer) -> list[str]:
    """Return the ids of the tasks that a create has made."""
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
    """Return what a create is recognized by."""
    body: dict[str, Any] = {}
    for name, value in fields.items():
        text = _SIGNED.sub(r"\1\2", value) if isinstance(value, str) else value
        is_url = isinstance(text, str) and text.startswith(("http://", "https://"))
        if name != "callback_url" and (urls or not is_url):
            body[name] = text
    return json.dumps([path, body], sort_keys=True)
