"""Holds the layout: who may import whom, what each wing shows, where third parties may be used.

A wing is a folder of the package or one of its single files; CONTRIBUTING.md says what it is for.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

OURS = "keevx_async"
PACKAGE = Path(__file__).parent.parent.parent / OURS
MAX_LINES = 450
LONGER = {"errors.py": 550}
"""The error tree is read as a whole, so it stays in one file."""

BASE = {"errors", "settings", "models", "events"}
LIBRARY = BASE | {"journal", "http", "polling", "submission", "transfer", "client"}

# Which wings a wing may import, besides itself. "" is the public face, keevx_async/__init__.py.
MAY_IMPORT: dict[str, set[str]] = {
    "": LIBRARY,
    "errors": set(),
    "settings": {"errors"},
    "models": {"errors"},
    "events": {"errors", "models"},
    "journal": {"errors", "models"},
    "http": BASE,
    "polling": BASE,
    "submission": BASE | {"journal", "http"},
    "transfer": BASE | {"http"},
    "client": LIBRARY,
    "notebook": {"client", "models"},
    "contrib": LIBRARY | {""},
    "docket": {"errors", "settings", "models", "journal", "polling", "transfer", "client"},
    "testing": set(),  # judges us by its own copy of the vendor's rules
    "cli": LIBRARY | {"", "docket", "testing", "notebook"},
}

# What other wings may name of a wing: its door. A wing that is not listed is all door.
DOORS: dict[str, set[str]] = {
    "journal": {
        "ACQUIRE",
        "Added",
        "Connection",
        "CreateRecord",
        "Entry",
        "HOLD",
        "Journal",
        "JournalProtocol",
        "LEASE",
        "NullJournal",
        "Owner",
        "OverLimit",
        "PASSWORD_VARIABLE",
        "Planned",
        "PollQueue",
        "Polled",
        "RedisJournal",
        "STATUS",
        "Script",
        "State",
        "TaskRecord",
        "login_of",
        "default_folder",
        "first_attempt_key",
        "next_attempt_key",
        "stem_of",
        "lock_file",
        "open_binary",
        "partial_reason",
        "is_resubmit",
        "other_request_error",
    },
    "http": {
        "AiohttpTransport",
        "ApiClient",
        "KeySource",
        "CLIENT_CLOSED",
        "Envelope",
        "Host",
        "HttpRequest",
        "HttpResponse",
        "Ids",
        "Recorder",
        "RecordingTransport",
        "Retrier",
        "Retryable",
        "Transport",
        "TransportError",
        "UPLOAD_PATH",
        "Verdict",
        "api_error",
        "canonical_body",
        "classify",
        "correlation",
        "error_correlation",
        "decode_envelope",
        "decode_ids",
        "decode_upload",
        "encode_request",
        "exchange_timeout",
        "interruption_of",
        "is_busy",
        "is_html",
        "is_rate_limit",
        "is_retryable_status",
        "query_path",
        "read_contents",
        "retry_after",
        "translate",
    },
    "polling": {
        "Durations",
        "Ends",
        "PollIntervals",
        "Poller",
        "RESULT_GRACE",
        "RESULT_PAUSE",
    },
    "submission": {
        "Guard",
        "MAY_BE_CHARGED",
        "end_within",
        "run_shielded",
        "AdaptiveRate",
        "Availability",
        "CallbackReceiver",
        "LANGUAGES",
        "Reservations",
        "MAX_OWNED",
        "PendingCreates",
        "Planned",
        "Reconciler",
        "SharedLimit",
        "Recall",
        "Submitter",
        "Throttle",
        "Valuation",
        "read_resent",
    },
    "transfer": {
        "DownloadedFile",
        "FindEarlier",
        "Destination",
        "Downloads",
        "FORMATS",
        "GoneError",
        "OutputNames",
        "PARALLEL_DOWNLOADS",
        "Row",
        "field_names",
        "safe_name",
        "thumbnail_path",
        "UploadCache",
        "Uploads",
        "result_paths",
        "is_url",
        "sniff",
        "object_size",
        "read_object",
        "CONVERTIBLE",
        "FITS",
        "Fit",
        "check_fit",
        "Verify",
        "check_verify",
        "verify_file",
        "can_probe",
        "inspect",
        "target_path",
    },
    "client": {
        "DEFAULT_CONCURRENCY",
        "DEFAULT_TIMEOUT",
        "FanOut",
        "FollowUp",
        "Fuse",
        "not_started",
        "Job",
        "Jobs",
        "Keevx",
        "KeyOf",
        "KindResolver",
        "Requests",
        "Slot",
        "WAIT_FACTOR",
        "check_positive",
        "check_whole",
        "raise_for_failed",
        "unfinished_ids",
    },
}

# Who may import what from outside, by a module's path below the package.
FENCE: dict[str, tuple[str, ...]] = {
    "attr": ("",),
    "attrs": ("",),
    "aiohttp": ("http/", "transfer/", "submission/callbacks.py", "testing/"),
    "multidict": ("http/", "transfer/", "submission/callbacks.py", "testing/"),  # aiohttp's own
    "yarl": ("http/", "transfer/", "submission/callbacks.py", "testing/"),  # likewise
    "truststore": ("http/",),
    "aiohttp_socks": ("http/",),
    "tenacity": ("http/",),
    "cattrs": ("http/", "models/"),
    "pydantic_core": ("models/schema.py", "models/request.py"),
    "sqlite3": ("journal/",),
    "redis": ("journal/", "docket/"),
    "docket": ("docket/",),
    "opentelemetry": ("contrib/otel.py", "docket/"),  # Docket's gauges are its own
    "fastapi": ("contrib/fastapi.py",),
    "PIL": ("models/pictures.py", "transfer/fitting.py"),
    "av": ("transfer/probe.py",),
    "obstore": ("transfer/object_storage.py",),
    "pillow_heif": ("transfer/fitting.py",),
    "cyclopts": ("cli/",),
    "rich": ("cli/",),
    "tqdm": ("notebook.py",),
    "pytest": ("testing/",),
}

# Imports inside functions, or by name: the faces' laziness, the command's check for its extra,
# commands that are imported when they are called so that `keevx --help` stays quick, extras that
# few need, and the pytest plugin, which pytest imports at every start.
LAZY = {
    "transfer/object_storage.py",
    "transfer/probe.py",
    "transfer/fitting.py",
    "__init__.py",
    "models/pictures.py",
    "http/certificates.py",
    "http/socks.py",
    "models/schema.py",
    "cli/__init__.py",
    "cli/entry.py",
    "cli/registry.py",
    "cli/commands/worker.py",
    "cli/output/views.py",
    "testing/__init__.py",
    "testing/plugin.py",
}


class Import(NamedTuple):
    module: str  # absolute and dotted, below the package for ours
    name: str  # the name imported from it; "" for the module itself
    line: int
    ours: bool
    lazy: bool
    typing_only: bool


class Module(NamedTuple):
    path: str  # below the package
    name: str  # dotted, below the package; "" for the face
    source: str
    tree: ast.Module

    @property
    def wing(self) -> str:
        return self.name.split(".")[0]


def test_the_layout_holds() -> None:
    modules = read(PACKAGE)
    assert len(modules) > 1, f"{PACKAGE} holds no modules to check"
    assert offences(modules) == []


def read(package: Path) -> dict[str, Module]:
    """Return every module of the package by its dotted name."""
    modules: dict[str, Module] = {}
    for path in sorted(package.rglob("*.py")):
        within = path.relative_to(package)
        name = ".".join(part for part in within.with_suffix("").parts if part != "__init__")
        source = path.read_text(encoding="utf-8")
        modules[name] = Module(within.as_posix(), name, source, ast.parse(source))
    return modules


def offences(modules: dict[str, Module]) -> list[str]:
    """Return everything that breaks the layout, a line each."""
    found: list[str] = []
    for module in modules.values():
        lines = len(module.source.splitlines())
        if module.wing not in MAY_IMPORT:
            found.append(f"{module.path}: {module.wing} is not a wing; add it to MAY_IMPORT")
            continue
        most = LONGER.get(module.path, MAX_LINES)
        if lines > most:
            found.append(f"{module.path}: {lines} lines, at most {most}; split it")
        for one in imports(module, modules):
            found += [f"{module.path}:{one.line}: {fault}" for fault in faults(module, one)]
    return found + cycles(modules)


def faults(module: Module, one: Import) -> Iterator[str]:
    full = f"{one.module}.{one.name}".strip(".")
    if one.lazy and module.path not in LAZY:
        yield f"imports {full} inside a function or by name; import it at the top"
    if not one.ours:
        if not one.typing_only:
            yield from fence_faults(module, one.module.split(".")[0])
        return
    wing = one.module.split(".")[0]
    if wing == module.wing:
        return
    if wing not in MAY_IMPORT[module.wing]:
        yield f"{module.wing or 'the face'} may not import {wing or 'the face'} ({full})"
    elif one.name and wing in DOORS and one.name not in DOORS[wing]:
        yield f"{one.name} is not in the door of {wing}"
    elif not one.name and wing in DOORS:
        yield f"imports the module {one.module}; import a name of the door of {wing}"


def fence_faults(module: Module, top: str) -> Iterator[str]:
    if top in FENCE:
        if not module.path.startswith(FENCE[top]):
            yield f"imports {top}, which only {', '.join(FENCE[top])} may"
    elif top not in sys.stdlib_module_names:
        yield f"imports {top}, which FENCE does not list"


def imports(module: Module, modules: dict[str, Module]) -> Iterator[Import]:
    """Yield every import of a module, wherever it stands."""

    def absolute(node: ast.ImportFrom) -> tuple[str, bool]:
        if not node.level:
            top, _, rest = (node.module or "").partition(".")
            return (rest, True) if top == OURS else (node.module or "", False)
        parts = module.name.split(".") if module.name else []
        kept = parts[: len(parts) - node.level + module.path.endswith("__init__.py")]
        return ".".join([*kept, *([node.module] if node.module else [])]), True

    def targets(node: ast.AST) -> Iterator[tuple[str, str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                yield (rest, "", True) if top == OURS else (alias.name, "", False)
        elif isinstance(node, ast.ImportFrom):
            base, ours = absolute(node)
            for alias in node.names:
                full = f"{base}.{alias.name}".strip(".")
                is_module = ours and (full in modules or full in MAY_IMPORT)
                yield (full, "", True) if is_module else (base, alias.name, ours)
        elif by_name(node):
            yield "importlib", "", False

    def walk(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
        for target, name, ours in targets(node):
            line: int = node.lineno  # type: ignore[attr-defined]
            yield Import(target, name, line, ours, lazy or by_name(node), typing_only)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from walk(statement, lazy, True)
            for statement in node.orelse:
                yield from walk(statement, lazy, typing_only)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy or inside, typing_only)

    return walk(module.tree, False, False)


def by_name(node: ast.AST) -> bool:
    """Whether a node imports by a string, which an import statement's check would not see."""
    if not isinstance(node, ast.Call):
        return False
    if ast.unparse(node.func) in {"import_module", "importlib.import_module", "__import__"}:
        return True
    # A command named by its path, which cyclopts imports when it is called.
    called = isinstance(node.func, ast.Attribute) and node.func.attr == "command"
    return called and bool(node.args) and isinstance(node.args[0], ast.Constant | ast.JoinedStr)


def cycles(modules: dict[str, Module]) -> list[str]:
    """Return the first import cycle among files, if there is one."""
    graph = {
        module.name: {one.module for one in imports(module, modules) if one.ours} - {module.name}
        for module in modules.values()
        if module.name
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"an import cycle: {' <- '.join(error.args[1])}"]
    return []


# The checker itself: a sound tree passes, and each way to break the layout is named.
SOUND = {
    "__init__.py": "def __getattr__(name):\n    from importlib import import_module as load\n",
    "errors.py": "import attrs\n",
    "settings.py": "from .errors import ConfigurationError\n",
    "models/__init__.py": "",
    "models/kinds.py": "import cattrs\nfrom ..errors import InvalidRequest\n",
    "http/__init__.py": "",
    "http/retry.py": "import tenacity\nfrom ..errors import KeevxError\n",
    "http/transport.py": "import aiohttp\nfrom yarl import URL\nfrom .retry import Retrier\n",
    "journal/__init__.py": "",
    "journal/sqlite.py": "import sqlite3\nfrom ..models.kinds import Kind\n",
    "client/__init__.py": "",
    "client/keevx.py": "from ..http.retry import Retrier\nfrom ..journal.sqlite import Journal\n",
    "testing/__init__.py": "import aiohttp\nfrom .server import Server\n",
    "testing/server.py": "import aiohttp.web\n",
    "cli/__init__.py": "def main():\n    from . import app\n",
    "cli/app.py": "import cyclopts, rich.table\nfrom .. import Keevx\n",
    "cli/demo.py": "from ..testing import Emulator\n",
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
        ("errors.py", "from .models.kinds import Kind\n", "errors may not import models"),
        ("errors.py", "import keevx_async.models.kinds\n", "errors may not import models"),
        ("errors.py", "from . import client\n", "errors may not import client"),
        ("errors.py", "def f():\n    from .settings import a\n", "errors may not import settings"),
        (
            "errors.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .settings import a\n",
            "errors may not import settings",
        ),
        (
            "errors.py",
            "try:\n    from .settings import a\nexcept ImportError:\n    pass\n",
            "may not",
        ),
        ("models/kinds.py", "from ..http.retry import Retrier\n", "models may not import http"),
        ("http/retry.py", "from ..journal.sqlite import Journal\n", "http may not import journal"),
        ("client/keevx.py", "from ..http.retry import _secret\n", "_secret is not in the door"),
        ("client/keevx.py", "from ..http import retry\n", "imports the module http.retry"),
        ("client/keevx.py", "from .. import Keevx\n", "client may not import the face"),
        ("client/keevx.py", "def f():\n    from ..errors import a\n", "inside a function"),
        ("client/keevx.py", "f = lambda: __import__('json')\n", "inside a function or by name"),
        ("client/keevx.py", "import importlib\nx = importlib.import_module('.a')\n", "by name"),
        ("cli/app.py", "import cyclopts\napp.command(f'{x}:y', help='z')\n", "by name"),
        ("testing/server.py", "from ..errors import a\n", "testing may not import errors"),
        (
            "testing/server.py",
            "from keevx_async import MODELS\n",
            "testing may not import the face",
        ),
        ("models/kinds.py", "import aiohttp\n", "imports aiohttp, which only http/"),
        ("client/keevx.py", "from yarl import URL\n", "imports yarl, which only http/"),
        ("__init__.py", "import aiohttp.web\n", "imports aiohttp, which only http/"),
        ("client/keevx.py", "from sqlite3 import connect\n", "sqlite3, which only journal/"),
        ("client/keevx.py", "import rich\n", "imports rich, which only cli/"),
        ("client/keevx.py", "import httpx\n", "imports httpx, which FENCE does not list"),
        ("attic.py", "", "attic.py: attic is not a wing"),
        ("models/kinds.py", "x = 1\n" * 451, "models/kinds.py: 451 lines, at most 450"),
        (
            "http/retry.py",
            "from .transport import Transport\n",
            "an import cycle: http.",
        ),
    ],
)
def test_each_offence_is_named(tmp_path: Path, name: str, source: str, expected: str) -> None:
    found = offences(plant(tmp_path, SOUND | {name: source}))
    assert [line for line in found if expected in line], found


def test_no_test_module_imports_another() -> None:
    tests = PACKAGE.parent / "tests"
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith("tests.") and ".test_" in name], (
                path
            )
