"""Holds the house's order: rooms import downward only, third parties stay behind their fence."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

OURS = "keevx_async"
PACKAGE = Path(__file__).parent.parent / OURS

# Bottom up. A room (keevx_async/<room>.py or <room>/) imports only rooms named before it.
ROOMS = [
    "version",
    "errors",
    "policies",
    "kinds",
    "rules",
    "inputs",
    "checks",
    "requests",
    "image_to_video",
    "image_generate",
    "video_translate",
    "family",
    "offers",
    "display",
    "signatures",
    "tasks",
    "events",
    "wire",
    "verdict",
    "pacing",
    "durations",
    "polling",
    "framing",
    "connections",
    "proxies",
    "certificates",
    "socks",
    "pool",
    "deadlines",
    "transport",
    "retry",
    "journal",
    "kinship",
    "querying",
    "callbacks",
    "settling",
    "counts",
    "fanout",
    "lane",
    "owners",
    "creating",
    "waiting",
    "addresses",
    "media",
    "naming",
    "parts",
    "downloads",
    "media_types",
    "images",
    "uploads",
    "jobs",
    "runtime",
    "settings",
    "session",
    "client",
    "notebook",
    "testing",
    "docket",
    "cli",
]
ISLANDS = {"testing"}  # imports nothing of ours: it judges us by its own copy of the rules
GUESTS = {"cli", "docket"}  # use the face, as a user would

# Who may import what from outside. "*" is every room; the standard library is free unless named.
FENCE: dict[str, set[str]] = {
    "attr": {"*"},
    "attrs": {"*"},
    "aiohttp": {
        "connections",
        "pool",
        "transport",
        "socks",
        "downloads",
        "uploads",
        "callbacks",
        "testing",
    },
    "multidict": {
        "pool",
        "transport",
        "downloads",
        "uploads",
        "callbacks",
        "testing",
    },  # comes with aiohttp
    "yarl": {
        "transport",
        "addresses",
        "downloads",
        "uploads",
        "callbacks",
        "testing",
    },  # comes with aiohttp
    "aiohttp_socks": {"socks"},
    "truststore": {"certificates"},
    "tenacity": {"retry"},
    "cattrs": {"wire"},
    "sqlite3": {"journal"},
    "cyclopts": {"cli"},
    "rich": {"cli"},
    "tqdm": {"notebook"},
    "pytest": {"testing"},
    "docket": {"docket"},
    "redis": {"docket"},
    "throttled": {"docket"},
}
# Imports inside functions, or by name: the faces' laziness, the command's "is the extra here?",
# commands that come when they are called, so that `keevx --help` need not import aiohttp, and the
# plugin, which pytest imports at every start of people who may not use it; and the extras that
# certificates and socks use where they are installed and needed.
LAZY = {
    "__init__.py",
    "certificates.py",
    "socks.py",
    "cli/__init__.py",
    "cli/commands.py",
    "cli/fleet.py",
    "testing/__init__.py",
    "testing/plugin.py",
}
LONGEST = 450


class Import(NamedTuple):
    target: str  # absolute, dotted; of `from a import b`, a.b where b is one of our modules, else a
    line: int
    lazy: bool
    typing_only: bool


class Module(NamedTuple):
    path: Path  # within the package
    name: str  # absolute, dotted
    room: str  # "" is the face
    lines: int
    tree: ast.Module


def test_the_house_is_in_order() -> None:
    modules = read(PACKAGE)
    assert len(modules) > 1, f"{PACKAGE} holds no modules to check"
    assert offences(modules) == []


def read(package: Path) -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    modules: dict[str, Module] = {}
    for path in sorted(package.rglob("*.py")):
        within = path.relative_to(package)
        parts = [part for part in within.with_suffix("").parts if part != "__init__"]
        source = path.read_text(encoding="utf-8")
        name = ".".join([OURS, *parts])
        room = parts[0] if parts else ""
        modules[name] = Module(within, name, room, len(source.splitlines()), ast.parse(source))
    return modules


def offences(modules: dict[str, Module]) -> list[str]:
    """All that is out of order, one line each."""
    found: list[str] = []
    for module in modules.values():
        if module.room and module.room not in ROOMS:
            found.append(
                f"{module.path}: {module.room} is no known room; give it its place in ROOMS of"
                f" {Path(__file__).name}, after all it imports"
            )
        if module.lines > LONGEST:
            found.append(f"{module.path}: {module.lines} lines, at most {LONGEST}; split it")
        for imported in imports(module, modules):
            found += [
                f"{module.path}:{imported.line}: {fault}" for fault in faults(module, imported)
            ]
    return found + circles(modules)


def faults(module: Module, imported: Import) -> Iterator[str]:
    top = imported.target.split(".")[0]
    if imported.lazy and module.path.as_posix() not in LAZY:
        yield f"imports {imported.target} inside a function or by name; import it at the top"
    if top == OURS:
        yield from order_faults(module, imported)
    elif not imported.typing_only:
        yield from fence_faults(module, imported, top)


def order_faults(module: Module, imported: Import) -> Iterator[str]:
    room = imported.target.split(".")[1] if "." in imported.target else ""
    if module.room in {"", room}:  # the face opens every room; a room knows its own files
        return
    if module.room in ISLANDS:
        yield f"{module.room} imports {imported.target}, but it stands alone"
    elif not room:
        if module.room not in GUESTS:
            yield f"{module.room} imports the face; import the room that has the name"
    elif room in ROOMS and module.room in ROOMS and ROOMS.index(room) > ROOMS.index(module.room):
        yield f"{module.room} imports {room}, which stands above it"


def fence_faults(module: Module, imported: Import, top: str) -> Iterator[str]:
    if top in FENCE:
        allowed = FENCE[top]
        if "*" not in allowed and module.room not in allowed:
            yield f"imports {top}, which is fenced into {', '.join(sorted(allowed))}"
    elif top not in sys.stdlib_module_names:
        yield f"imports {top}, which FENCE of {Path(__file__).name} does not know"


def imports(module: Module, modules: dict[str, Module]) -> Iterator[Import]:
    """Every import of a module, wherever it stands in it."""
    is_package = module.path.name == "__init__.py"

    def base_of(node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.name.split(".")
        kept = parts[: len(parts) - node.level + is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def targets(node: ast.AST) -> set[str]:
        if isinstance(node, ast.Import):
            return {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = base_of(node)
            full = {alias.name: f"{base}.{alias.name}" for alias in node.names}
            return {name if is_module(name, modules) else base for name in full.values()}
        return {"importlib"} if by_name(node) else set()

    def walk(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
        for target in sorted(targets(node)):
            yield Import(target, node.lineno, lazy or by_name(node), typing_only)  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.body:
                yield from walk(statement, lazy, True)
            for statement in node.orelse:
                yield from walk(statement, lazy, typing_only)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy or inside, typing_only)

    return walk(module.tree, False, False)


def is_module(name: str, modules: dict[str, Module]) -> bool:
    """Whether a dotted name is a module of ours, be it there or only given a place."""
    return name in modules or name in {f"{OURS}.{room}" for room in ROOMS}


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def by_name(node: ast.AST) -> bool:
    """Whether a node imports by a string, which would slip past this checker."""
    names = {"import_module", "importlib.import_module", "__import__"}
    if not isinstance(node, ast.Call):
        return False
    return ast.unparse(node.func) in names or is_command_path(node)


def is_command_path(node: ast.Call) -> bool:
    """Whether a call names a command by its path, which cyclopts imports when it is called."""
    called = isinstance(node.func, ast.Attribute) and node.func.attr == "command"
    return called and bool(node.args) and isinstance(node.args[0], ast.Constant | ast.JoinedStr)


def circles(modules: dict[str, Module]) -> list[str]:
    """The first circle among files, if any: within a room too, where the order says nothing."""
    graph = {
        module.name: {imported.target for imported in imports(module, modules)} - {module.name}
        for module in modules.values()
        if module.room
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle: {' <- '.join(error.args[1])}"]
    return []


# The checker itself: a sound tree passes, and each way to be out of order is named.
SOUND = {
    "__init__.py": "def __getattr__(name):\n    from importlib import import_module as load\n",
    "errors.py": "import attrs\n",
    "wire.py": "import json\nimport cattrs\nfrom .errors import KeevxError\n",
    "transport.py": "import aiohttp\nfrom yarl import URL\nfrom . import errors, wire\n",
    "journal/__init__.py": "from .store import Store\n",
    "journal/store.py": "import sqlite3\nfrom ..errors import JournalError\n",
    "client.py": "import typing\nif typing.TYPE_CHECKING:\n  import aiohttp\nfrom . import wire\n",
    "testing/__init__.py": "import aiohttp\nfrom .server import Server\n",
    "testing/server.py": "import aiohttp.web\n",
    "cli/__init__.py": "def main():\n    from . import app\n",
    "cli/app.py": "import cyclopts, rich.table\nfrom .. import Keevx, testing\n",
}


def plant(tmp_path: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return read(tmp_path)


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    assert offences(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("errors.py", "from .wire import encode\n", "errors imports wire, which stands above it"),
        ("errors.py", "from keevx_async.wire import a\n", "wire, which stands above it"),
        ("errors.py", "import keevx_async.wire\n", "wire, which stands above it"),
        ("errors.py", "from . import client\n", "errors imports client, which stands above it"),
        ("errors.py", "from keevx_async import polling\n", "polling, which stands above it"),
        ("journal/store.py", "from ..client import Keevx\n", "journal imports client"),
        ("errors.py", "def f():\n    from .wire import a\n", "errors imports wire"),
        (
            "errors.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .wire import a\n",
            "errors imports wire",
        ),
        ("errors.py", "try:\n    from .wire import a\nexcept ImportError:\n    pass\n", "wire"),
        ("client.py", "def f():\n    from .wire import a\n", "inside a function"),
        ("client.py", "f = lambda: __import__('json')\n", "inside a function or by name"),
        ("client.py", "import importlib\nx = importlib.import_module('.wire')\n", "by name"),
        ("cli/app.py", "import cyclopts\napp.command(f'{x}:y', help='z')\n", "by name"),
        ("client.py", "from keevx_async import Keevx\n", "client imports the face"),
        ("testing/server.py", "from ..rules import MODELS\n", "but it stands alone"),
        ("testing/server.py", "from keevx_async import MODELS\n", "but it stands alone"),
        ("wire.py", "import aiohttp\n", "aiohttp, which is fenced into callbacks, connections"),
        ("client.py", "from yarl import URL\n", "imports yarl, which is fenced"),
        ("__init__.py", "import aiohttp.web\n", "imports aiohttp, which is fenced"),
        ("client.py", "from tenacity import retry\n", "imports tenacity, which is fenced"),
        ("client.py", "import cattrs\n", "imports cattrs, which is fenced into wire"),
        ("client.py", "from sqlite3 import connect\n", "sqlite3, which is fenced into journal"),
        ("client.py", "import rich\n", "imports rich, which is fenced into cli"),
        ("client.py", "import cyclopts\n", "imports cyclopts, which is fenced into cli"),
        ("client.py", "import httpx\n", "imports httpx, which FENCE of test_layers.py"),
        ("attic.py", "", "attic.py: attic is no known room; give it its place in ROOMS"),
        ("wire.py", "x = 1\n" * 451, "wire.py: 451 lines, at most 450"),
        ("journal/store.py", "from . import Journal\n", "a circle: keevx_async.journal"),
    ],
)
def test_each_offence_is_named(tmp_path: Path, name: str, source: str, expected: str) -> None:
    found = offences(plant(tmp_path, SOUND | {name: source}))
    assert [line for line in found if expected in line], found
