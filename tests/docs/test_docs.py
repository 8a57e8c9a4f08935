"""Every code block of the pages and of README runs, against the Emulator over real sockets."""

import ast
import asyncio
import json
import re
import shlex
import threading
from collections.abc import Awaitable, Callable, Iterator
from inspect import CO_COROUTINE
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

import keevx_async
from docs import build
from docs.picture import PICTURE, drawn
from docs.tables import models
from keevx_async import MODELS, InvalidRequest, ModelRules
from keevx_async.cli.app import app, explicit
from keevx_async.cli.input.csv_types import kind_of_row
from keevx_async.cli.input.inputs import with_paths
from keevx_async.models.registry import request_by_name
from keevx_async.testing import Emulator
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
# The comment that stands before a block of another SDK's code: it needs that SDK and an account
# there, so it is held to being Python, and not run.
THEIRS = re.compile(r"<!-- theirs: [\w-]+ -->\s*\Z")
UNTAKEN = (
    '{"key": "k", "model": "V", "prompt": "A dog", "image_url": "dog.jpg", "aspect_ratio": "9:16",'
    ' "aspect_resolution": "4k", "duration": 5}'
)
TARGETS = re.compile(r"^([a-z]+):.*## ", re.MULTILINE)


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """What a reader has: a key, a place to work in, a public URL; and an emulator for Keevx.

    The emulator has a loop and a thread of its own, since some blocks call asyncio.run.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(step: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(step), loop).result(timeout=30)

    emulator = Emulator(seconds=0.05)
    try:
        there(emulator.start())
        port = free_port()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PORT", str(port))
        monkeypatch.setenv("PUBLIC_URL", f"http://127.0.0.1:{port}/keevx")
        monkeypatch.setenv("KEEVX_API_KEY", "test-key")
        monkeypatch.setenv("KEEVX_BASE_URL", emulator.url)
        monkeypatch.setenv("KEEVX_CALLBACK_SECRET", "a secret of 16 bytes or more")
        yield emulator
    finally:
        there(emulator.stop())
        there(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _awaited(step: Awaitable[Any]) -> Any:
    return await step


class Python:
    """Runs a page's blocks one after the other in one namespace, await allowed at the top."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def __call__(self, example: Example) -> None:
        source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
        code = compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if THEIRS.search(example.document.text[: example.start]):
            return
        if code.co_flags & CO_COROUTINE:
            self._runner.run(_awaited(eval(code, example.namespace)))  # noqa: S307 - our own page
        else:
            exec(code, example.namespace)  # noqa: S102 - our own page


def shell(example: Example) -> None:
    """Hold each line of a terminal to what there is: the command's parser, make's targets."""
    targets = set(TARGETS.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    for line in example.parsed.replace("\\\n", " ").splitlines():
        program, _, rest = line.partition(" ")
        if Path(program).name == "keevx":
            words = shlex.split(rest, comments=True)
            app.parse_args(explicit(words), exit_on_error=False, print_error=False)
        elif program == "make":
            assert rest.split()[0] in targets, f"{example.path}:{example.line}: {line}"


def prompts(example: Example) -> None:
    """Hold each line of a file of prompts to the rules of its kind."""
    for line in example.parsed.splitlines():
        fields = json.loads(line)
        fields.pop("key", None)
        kind = request_by_name(kind_of_row(fields.pop("kind", None)))
        kind.from_dict(with_paths(fields, Path()))


def blocks(page: Path, runner: asyncio.Runner) -> Document:
    """Return a page whose blocks are found."""
    evaluators: dict[str, Callable[[Example], None]]
    evaluators = {"python": Python(runner), "sh": shell, "jsonl": prompts}
    parsers = [CodeBlockParser(language, run) for language, run in evaluators.items()]
    return Sybil(parsers, path=str(page.parent)).parse(page)


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path) -> None:
    with asyncio.Runner() as runner:
        for example in blocks(page, runner).examples():
            example.evaluate()


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("```python\nawait nonesuch()\n```\n", NameError),
        ("```python\nassert 1 + 1 == 3\n```\n", AssertionError),
        ("<!-- theirs: fal-client -->\n```python\nis no Python\n```\n", SyntaxError),
        ("```sh\nkeevx run --nonesuch\n```\n", Exception),
        ("```sh\nmake nonesuch\n```\n", AssertionError),
        (f"```jsonl\n{UNTAKEN}\n```\n", InvalidRequest),
    ],
)
def test_a_block_that_does_not_work_is_found(
    tmp_path: Path, block: str, error: type[Exception]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(block, encoding="utf-8")
    with asyncio.Runner() as runner:
        (example,) = blocks(page, runner).examples()
        with pytest.raises(error):
            example.evaluate()


def test_the_constraints_table_has_a_row_for_each_model() -> None:
    rows = models()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [f"`{name}`" for name in MODELS]
    added = models({**MODELS, "F": ModelRules(resolutions=("8k",), durations=(3, 7))})
    assert added[:-1] == models()
    assert "8k" in added[-1]
    assert "3, 7" in added[-1]
    assert "{{ models }}" in (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()


def test_every_error_has_its_row() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    exported = [getattr(keevx_async, name) for name in keevx_async.__all__]
    errors = [one for one in exported if isinstance(one, type) and issubclass(one, Exception)]
    assert told == {one.__name__ for one in errors} - {"KeevxError"}


def test_the_reference_lists_every_exported_name_once() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: keevx_async\.([A-Z]\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(keevx_async.__all__)


@pytest.mark.parametrize(
    ("name", "text", "faults"),
    [
        ("a.html", '<script src="https://cdn.example/x.js">', 1),
        ("a.html", "<img src=//cdn.example/x.png>", 1),
        ("a.html", '<link rel=stylesheet href="https://cdn.example/x.css">', 1),
        ("a.css", "src: url(https://cdn.example/x.woff2)", 1),
        ("a.svg", '@import "https://cdn.example/x.css";', 1),
        ("a.html", '<a href="https://example.com/"><img src="demo.svg">', 0),
    ],
)
def test_what_the_site_would_load_from_other_hosts_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, faults: int
) -> None:
    monkeypatch.setattr(build, "SITE", tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert len(list(build.outside())) == faults


def test_a_name_that_the_reference_does_not_show_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "SITE", tmp_path)
    (tmp_path / "api").mkdir()
    shown = (f'<h2 id="keevx_async.{name}">' for name in keevx_async.__all__ if name != "Journal")
    (tmp_path / "api" / "index.html").write_text("".join(shown), encoding="utf-8")
    assert [fault for fault in build.missing() if "Journal" in fault] == list(build.missing())


def test_a_warning_in_passing_is_found() -> None:
    said = "griffe: x.py:1: No type or annotation\nNo issues found\n"
    assert list(build.warnings(said)) == ["warning: griffe: x.py:1: No type or annotation"]


def test_the_picture_names_no_machine_and_loads_nothing() -> None:
    for picture in (PICTURE.read_text(encoding="utf-8"), drawn("$ keevx demo")):
        assert "keevx&#160;demo" in picture
        assert not re.search(r"@font-face|url\(['\"]?http|/(home|tmp|root|work|Users)/", picture)
