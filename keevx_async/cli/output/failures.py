"""Describes failures: briefly for each item, and grouped with advice at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field

from keevx_async.errors import KeevxError, SubmissionUncertain, TaskFailed
from keevx_async.models.tasks import FAILED

from .counters import Status
from .wording import for_terminal

MAX_LINES_NAMED = 10
"""The maximum number of input lines to list for a group."""
MAX_GROUPS = 10
"""The maximum number of groups to print, largest first."""
MAX_REASONS = 1000
"""The maximum number of groups to keep; further reasons are counted together."""
_ID = re.compile(r"\b(?:task )?\w+-[0-9a-f]{8,}\b ?")


def reason_of(error: Exception) -> str:
    """Return the reason an item has no result, without ids or advice."""
    if isinstance(error, TaskFailed) and error.task.error_message:
        status = error.task.status
        return str(f"{status.lower()}: " * (status != FAILED) + error.task.error_message)
    message = error.message if isinstance(error, KeevxError) else str(error)
    if isinstance(error, SubmissionUncertain):
        message = message.replace(f" (key {error.key})", "")
    return for_terminal(_ID.sub("", message).strip())


@define
class _Group:
    status: Status
    reason: str
    hint: str
    count: int = 0
    lines: list[int] = field(factory=list[int])


class Failures:
    """Groups a run's errors by reason. Memory use does not grow with the run."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Status, str], _Group] = {}

    def add(self, status: Status, line: int, error: Exception) -> None:
        """Count an item that has no result."""
        reason = reason_of(error)
        if (status, reason) not in self._groups and len(self._groups) >= MAX_REASONS:
            reason = "other reasons"
        hint = error.hint if isinstance(error, KeevxError) and str(error) != error.message else ""
        group = self._groups.setdefault(
            (status, reason), _Group(status, reason, for_terminal(hint))
        )
        group.count += 1
        if len(group.lines) < MAX_LINES_NAMED:
            group.lines.append(line)

    def lines(self, name: str) -> Iterator[tuple[str, Status]]:
        """Yield the lines to print, each with its group's status.

        Args:
            name: the input's name, for ``prompts.csv:3, 17``.
        """
        groups = sorted(self._groups.values(), key=lambda group: -group.count)
        for group in groups[:MAX_GROUPS]:
            yield f"{group.count:,} {group.status}: {group.reason}", group.status
            numbers = ", ".join(map(str, sorted(group.lines)))
            more = f" and {group.count - len(group.lines):,} more" * (
                group.count > len(group.lines)
            )
            yield f"  {name}:{numbers}{more}", group.status
            if group.hint:
                yield f"  {group.hint}", group.status
        if rest := groups[MAX_GROUPS:]:
            count = sum(group.count for group in rest)
            yield f"{count:,} more, for {len(rest):,} other reasons", rest[0].status
