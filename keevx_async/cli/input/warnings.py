"""Warnings about a file of prompts: what is allowed, and probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from keevx_async.models.advice import FIXED_BY_FIT

from ..output.console import ERRORS, print_error, printable
from .inputs import Input
from .prompts import Job, Problem


class Warnings:
    """Collects the warnings of a file while ``find_problems`` reads it, grouped.

    A group is a field and a rule. It is shown with the message of its first line, and with the
    numbers of the others. What ``--fit`` fixes is left out.

    Args:
        source: the input.
    """

    def __init__(self, source: Input) -> None:
        self._source = source
        self._first: dict[tuple[str, str], Problem] = {}
        self._more: dict[tuple[str, str], list[int]] = {}

    def __iter__(self) -> Iterator[Problem]:
        for group, problem in self._first.items():
            yield evolve(problem, more_lines=self._more[group])

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, job: Job) -> None:
        """Add the warnings of a line without problems; its local images are opened."""
        for warning in job.request.warnings():
            if self._source.fit != "none" and warning.rule in FIXED_BY_FIT:
                continue
            group = (warning.field, warning.rule)
            if group not in self._first:
                self._first[group] = Problem(self._source.name, job.line, str(warning))
                self._more[group] = []
            elif job.line not in (self._first[group].line, *self._more[group][-1:]):
                self._more[group].append(job.line)

    def stop(self, *, strict: bool) -> bool:
        """Print them to standard error; return whether they stop a run, and say so.

        Args:
            strict: whether any warning does.
        """
        for warning in self:
            ERRORS.print(printable(f"warning: {warning}"), style="yellow")
        if stops := bool(self) and strict:
            print_error(
                f"nothing was sent, because of --strict; fix {self._source.name} and run again"
            )
        return stops
