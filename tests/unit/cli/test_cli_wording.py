"""Messages of the library, as a terminal prints them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import keevx_async
from keevx_async.cli.output.wording import PHRASES, for_terminal
from keevx_async.errors import AuthenticationError, ConfigurationError, KeevxError, RateLimitError

PACKAGE = Path(keevx_async.__file__).parent
PYTHON = re.compile(r"Keevx\(|\bKeevx\.\w|pathlib|RetryPolicy|api_key|\bcallbacks=|\w\(\)")
"""What a person at a terminal cannot type."""
ELSEWHERE = {
    "__init__.py",  # names, which no message has
    "client/base.py",  # a warning of the interpreter about a client that was not closed
    "client/stopped.py",  # what a notebook shows, and the notes of tracebacks
    "client/options.py",  # timedelta's total_seconds(): no option takes one
    "http/transport.py",  # a client that was closed: no command uses one
}


def literals(tree: ast.AST) -> Iterator[str]:
    """Every string of a module but its docstrings."""
    bodies = (getattr(node, "body", None) for node in ast.walk(tree))
    docstrings = {
        id(statement.value)
        for body in bodies
        if isinstance(body, list)
        for statement in body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


def test_no_message_of_the_library_names_what_only_a_program_has() -> None:
    wings = ("cli", "testing", "docket", "notebook.py")
    found = {
        text
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in wings
        and str(path.relative_to(PACKAGE)) not in ELSEWHERE
        for text in literals(ast.parse(path.read_text(encoding="utf-8")))
        if PYTHON.search(for_terminal(text))
    }
    assert found == set()


def test_every_phrase_is_one_of_the_library() -> None:
    source = "".join(
        text
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "cli"
        for text in literals(ast.parse(path.read_text(encoding="utf-8")))
    )
    assert [phrase for phrase in PHRASES if phrase not in source] == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AuthenticationError, "Check KEEVX_API_KEY, and that the base URL"),
        (ConfigurationError, "Check the environment variables KEEVX_API_KEY"),
        (RateLimitError, "Lower --concurrency"),
    ],
)
def test_the_hint_of_an_error_names_variables_and_options(
    error: type[KeevxError], words: str
) -> None:
    assert words in for_terminal(error.hint)
