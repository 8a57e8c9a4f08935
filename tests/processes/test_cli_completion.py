"""Shell completion in the shells themselves, each skipped where it is not installed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.cli import keevx

BASH = """
source {script}
function=$(complete -p keevx | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=(keevx {words} '{begun}')
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
$function keevx "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# The prompt is written in two parts, so that the echo of this line is not taken for it.
ZSH = (
    "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -d {folder}/dump; "
    "PS1='REA''DY> '\n"
)
IN_ZSH = """
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("zsh", ["zsh", "-f", "-i"])
"""
SECONDS = 120.0


async def script_for(shell: str, folder: Path) -> Path:
    """Install completion as a user does; return the script that it wrote."""
    ran = await keevx("--install-completion", "--shell", shell, cwd=folder, HOME=str(folder))
    assert ran.code == 0, ran.err
    return Path(ran.out.splitlines()[0].rpartition(" to ")[2])


def in_bash(script: Path, words: str, begun: str, _: set[str]) -> str:
    code = BASH.format(script=script, words=words, begun=begun)
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S607


def in_fish(script: Path, words: str, begun: str, _: set[str]) -> str:
    code = f"source {script}; complete -C 'keevx {words} {begun}'"
    command = ["fish", "--no-config", "-c", code]
    env = {**os.environ, "HOME": str(script.parent)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def in_zsh(script: Path, words: str, begun: str, offered: set[str]) -> str:
    """Press Tab twice in an interactive shell: zsh's own completion runs nowhere else."""
    terminal, end = os.openpty()
    env = os.environ | {"HOME": str(script.parent), "TERM": "xterm", "COLUMNS": "200"}
    shell = subprocess.Popen(
        [sys.executable, "-c", IN_ZSH],
        stdin=end, stdout=end, stderr=end, start_new_session=True, env=env,
    )  # fmt: skip
    os.close(end)

    def read_until(*texts: str) -> str:
        seen, end = b"", time.monotonic() + SECONDS
        while time.monotonic() < end and not all(text.encode() in seen for text in texts):
            if select.select([terminal], [], [], 0.5)[0]:
                seen += os.read(terminal, 65536)
        return seen.decode(errors="replace")

    try:
        os.write(terminal, ZSH.format(folder=script.parent).encode())
        read_until("READY> ")
        os.write(terminal, f"keevx {words} {begun}\t\t".encode())
        return read_until(*offered)
    finally:
        os.close(terminal)  # which ends the shell
        shell.wait(SECONDS)


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}
CASES = [
    ("run --model", "", {"V", "KL", "S"}),
    ("run --aspect-ratio", "", {"16:9", "9:16"}),
    ("check --aspect-resolution", "", {"720p", "1080p", "4k"}),
    ("submit --model", "", {"V", "KL", "S"}),
    ("submit", "image", {"image-generate", "image_generate"}),
    ("submit image-generate --module", "", {"std", "pro"}),
]


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_shell_completes_models_ratios_and_kinds(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = await script_for(shell, tmp_path)
    for words, begun, offered in CASES:
        seen = SHELLS[shell](script, words, begun, offered)
        assert all(word in seen for word in offered), (words, seen)


async def test_no_option_has_a_name_that_only_the_parser_knows(tmp_path: Path) -> None:
    script = (await script_for("bash", tmp_path)).read_text()
    assert "--empty" not in script
    assert "--no-generate-audio" not in script
    assert "--no-translate-audio-only" in script  # it is on by default
