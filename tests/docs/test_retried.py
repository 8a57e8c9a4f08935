"""The log lines, events and trace of one create on docs/service.md are those of a run today."""

import re
from pathlib import Path

from docs.retried import masked, run

PAGE = Path(__file__).parents[2] / "docs" / "service.md"


async def test_the_page_shows_what_a_run_shows() -> None:
    _, _, shown = PAGE.read_text(encoding="utf-8").partition("python -m docs.retried")
    blocks = re.findall(r"```text\n(.*?)\n```", shown, re.DOTALL)
    assert [masked(block) for block in blocks] == [masked(text) for text in await run()]


def test_only_times_and_ids_are_masked() -> None:
    line = "key=order-1 attempt=2 elapsed_ms=31.0 status=503, 2 ms, i2v-" + "0f" * 16
    assert masked(line) == "key=order-1 attempt=2 elapsed_ms=# status=503,#, i2v-#"
