"""README's first lines of a terminal can be pasted as they are: an empty folder, and no key."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tests.support.cli import keevx

README = Path(__file__).parent.parent.parent / "README.md"


async def test_the_first_lines_of_a_terminal_can_be_pasted(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("## From a terminal\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    install, *lines = block[1].splitlines()
    assert install == "pip install 'keevx_async[cli]'"
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "keevx"
        ran = await keevx(*words, cwd=tmp_path, KEEVX_API_KEY="")
        assert ran.code == 0, (line, ran.err)
    assert sorted(os.listdir(tmp_path)) == ["prompts.csv", "rehearsal"]
    assert len(list((tmp_path / "rehearsal").glob("*.mp4"))) == 2
