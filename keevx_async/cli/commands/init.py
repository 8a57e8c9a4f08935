"""``keevx init``: writes a sample file of prompts that runs unchanged."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError

from ..input.formats import Format
from ..input.sources import SUFFIXES, TEXT_SUFFIXES
from ..options import FLAG, PathOption
from ..output.console import OK, printable

SETTINGS = {
    "model": "V",
    "ratio": "16:9",
    "resolution": "1080p",
    "seconds": "6",
    "image": "https://example.com/start.jpg",
}
"""The options that a plain list of prompts needs."""
COMMANDS = (
    ("keevx check {}", "check it and count the videos; nothing is sent"),
    ("keevx emulator -- keevx run {} --out rehearsal/", "rehearse: no key, no cost"),
    ("keevx run {}", "make the videos, and pay for them"),
)
"""The commands to run with the file, in this order, each with a comment."""
TEMPLATES: dict[Format, str] = {
    "csv": """\
# One request per line. Edit it in a spreadsheet, and save it as CSV.
{commands}
# image_url is a URL, or a file beside this one. More columns: keevx run --help.
prompt,model,aspect_ratio,aspect_resolution,duration,image_url
A golden retriever running in the grass,V,16:9,1080p,6,https://example.com/start.jpg
"A paper boat on a pond, slow zoom",V,9:16,720p,4,https://example.com/start.jpg
""",
    "jsonl": """\
# One request per line: the fields of the API, and an optional "key" that names the request.
{commands}
# image_url is a URL, or a file beside this one.
{{"prompt": "A golden retriever running in the grass", "model": "V", "aspect_ratio": "16:9", \
"aspect_resolution": "1080p", "duration": 6, "image_url": "https://example.com/start.jpg"}}
{{"prompt": "A paper boat on a pond, slow zoom", "model": "V", "aspect_ratio": "9:16", \
"aspect_resolution": "720p", "duration": 4, "image_url": "https://example.com/start.jpg"}}
""",
    "txt": """\
# One prompt per line; options set the rest. Write \\# to start a prompt with a #.
{commands}
A golden retriever running in the grass
A paper boat on a pond, slow zoom
""",
}
"""The sample files by format. They are ASCII, so Excel needs no byte-order mark."""


def init(
    file: Annotated[
        PathOption | None,
        Parameter(help="File to write; prompts.csv, .jsonl or .txt by default."),
    ] = None,
    /,
    *,
    csv: Annotated[bool, FLAG, Parameter(help="A table, for a spreadsheet. The default.")] = False,
    jsonl: Annotated[bool, FLAG, Parameter(help="JSON lines, for programs.")] = False,
    txt: Annotated[bool, FLAG, Parameter(help="Text, with one prompt per line.")] = False,
) -> int:
    """Write a sample file of prompts, which runs on the emulator unchanged.

    Print the commands that check, rehearse and run the file.

    Raises:
        ConfigurationError: the file exists or cannot be written, or its format is ambiguous.
    """
    flags: dict[Format, bool] = {"csv": csv, "jsonl": jsonl, "txt": txt}
    format = _format_of(file, [name for name, is_set in flags.items() if is_set])
    path = file or Path(f"prompts.{format}")
    commands = _commands(path, SETTINGS if format == "txt" else {})
    comments = "\n".join(f"#   {command}" for command in commands)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as template:
            template.write(TEMPLATES[format].format(commands=comments))
    except FileExistsError:
        raise ConfigurationError(f"{path} already exists; choose another name") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {printable(str(path))}; next:")
    for command in commands:
        print(f"  {printable(command)}")
    return OK


def _commands(path: Path, settings: Mapping[str, str]) -> list[str]:
    """Return the shell commands to run with a file, each with a comment."""
    words = [shlex.quote(str(path))]
    words += [f"--{name} {value}" for name, value in settings.items()]
    commands = [(command.format(" ".join(words)), comment) for command, comment in COMMANDS]
    width = 0 if settings else max(len(command) for command, _ in commands)
    return [f"{command:{width}}  # {comment}" for command, comment in commands]


def _format_of(file: Path | None, flags: list[Format]) -> Format:
    """Return the format set by the flags or the file's suffix; CSV if neither sets one.

    Raises:
        ConfigurationError: the flags and the suffix contradict each other.
    """
    suffix = "" if file is None else file.suffix.lower()
    by_suffix: Format | None = "txt" if suffix in TEXT_SUFFIXES else SUFFIXES.get(suffix)
    if len(flags) > 1:
        raise ConfigurationError("pass only one of --csv, --jsonl and --txt")
    format = flags[0] if flags else by_suffix or "csv"
    if by_suffix not in (None, format) or suffix == ".tsv":
        raise ConfigurationError(
            f"the suffix of {file} does not match {format}; name it prompts.{format}"
        )
    return format
