"""Warnings about a file of prompts: what is allowed, and probably a mistake."""

from __future__ import annotations

from attrs import evolve

from keevx_async.models.advice import FIXED_BY_FIT

from ..output.console import ERRORS, print_error, printable
from .formats import BadLine
from .prompts import Problem, jobs
from .sources import Source


def find_warnings(source: Source) -> list[Problem]:
    """Return what a file's sound lines warn of, grouped: one for each field and rule.

    Its message is that of the first line; the lines of the others are named. What ``--fit`` fixes
    is left out.
    """
    first: dict[tuple[str, str], Problem] = {}
    more: dict[tuple[str, str], list[int]] = {}
    for job in jobs(source):
        if isinstance(job, BadLine):  # has problems, which are printed as such
            continue
        for warning in job.request.warnings():
            group = (warning.field, warning.rule)
            if source.fit != "none" and warning.rule in FIXED_BY_FIT:
                continue
            if group not in first:
                first[group] = Problem(source.name, job.line, str(warning))
                more[group] = []
            elif job.line not in (first[group].line, *more[group][-1:]):
                more[group].append(job.line)
    return [evolve(problem, more_lines=more[group]) for group, problem in first.items()]


def warning_lines(warnings: list[Problem]) -> list[str]:
    """Return the line to print for each warning; they are few, being grouped."""
    return [f"warning: {warning}" for warning in warnings]


def passes_warnings(source: Source, *, strict: bool) -> bool:
    """Print the warnings of a file to standard error; return whether a run may begin.

    Args:
        source: without problems.
        strict: whether a warning stops the run.
    """
    warnings = find_warnings(source)
    for line in warning_lines(warnings):
        ERRORS.print(printable(line), style="yellow")
    if warnings and strict:
        print_error(f"nothing was sent, because of --strict; fix {source.name} and run again")
    return not (warnings and strict)
