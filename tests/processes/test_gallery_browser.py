"""``index.html`` in a real browser: every control, two thousand rows, and a narrow screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keevx_async.cli.output.views import Views
from tests.support.browser import CHROMIUM, a_page

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
]
PROMPTS = (
    "A train in the snow",
    "雪山日出 镜头缓缓推进",
    "a very long prompt " * 30,
    "<b>A</b> & 'b'",
)
STATUSES = {7: "failed", 9: "uncertain", 11: "unfinished"}
FIRST = "document.querySelector('article .head').textContent"
COUNT = "document.querySelectorAll('article').length"


def row(number: int) -> dict[str, Any]:
    status = STATUSES.get(number % 50, "done")
    return {
        "index": number,
        "line": number + 2,
        "key": f"key-{number}",
        "kind": "image_to_video",
        "prompt": f"{PROMPTS[number % 4]} {number}",
        "status": status,
        "task_ids": [f"i2v-{number:032x}"],
        "paths": [f"{number:04d}.mp4"] if status == "done" else [],
        "error": None if status == "done" else "content moderation refused the prompt",
        "ended_at": f"2026-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
    }


def made(folder: Path) -> Path:
    lines = (json.dumps(row(number)) for number in range(2000))
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert Views(folder / "results.jsonl").write()
    return folder / "index.html"


async def test_two_thousand_rows_can_be_filtered_sorted_searched_and_copied(tmp_path: Path) -> None:
    page_file = made(tmp_path)
    async with a_page(tmp_path / "profile") as page:
        await page.resize(1280, 800)
        await page.open(page_file)
        buttons = "[...document.querySelectorAll('#filters button')]"
        assert await page.run(f"{buttons}.map(each => each.textContent)") == [
            *("2,000 all", "40 failed", "40 uncertain", "40 unfinished", "1,880 done"),
        ]
        assert await page.run(FIRST) == "failed#7line 9"  # the failed ones come first
        assert 0 < await page.run(COUNT) < 200  # the others as the reader scrolls
        for number, status in enumerate(("failed", "uncertain", "unfinished", "done"), 1):
            await page.run(f"{buttons}[{number}].click()")
            listed = (
                "[...new Set([...document.querySelectorAll('.status')].map(e => e.textContent))]"
            )
            assert await page.run(listed) == [status]
            pressed = f"{buttons}.map(each => each.getAttribute('aria-pressed')).indexOf('true')"
            assert await page.run(pressed) == number
        await page.run(f"{buttons}[0].click()")
        for order, first in (
            ("index", "done#0line 2"),
            ("latest", "done#1999line 2001"),
            ("prompt", "done#3line 5"),
            ("failed", "failed#7line 9"),
        ):
            await page.run(f"sort.value = '{order}'; sort.dispatchEvent(new Event('change'))")
            assert await page.run(FIRST) == first
        await page.run("search.value = 'TRAIN 1204'; search.dispatchEvent(new Event('input'))")
        await page.until(f"{COUNT} === 1")
        assert await page.run(FIRST) == "done#1204line 1206"
        await page.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
        # Only a page that has the focus may use the clipboard.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        # In one script, since the button says so for less than a second.
        copied = """(async () => {
            const button = document.querySelector('.ids button'), before = button.textContent;
            button.click();
            while (button.textContent === before) await new Promise(again => setTimeout(again));
            const says = button.textContent;
            while (button.textContent !== before) await new Promise(again => setTimeout(again));
            return says;
        })()"""
        assert await page.run(copied) == "copied"
        assert await page.run("navigator.clipboard.readText()") == f"i2v-{1204:032x}"
        await page.run("navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))")
        await page.run("document.execCommand = () => false")
        assert await page.run(copied) == "not copied"
        await page.run("search.value = 'nowhere'; search.dispatchEvent(new Event('input'))")
        await page.until("!document.getElementById('none').hidden")
        await page.run("search.value = '雪山'; search.dispatchEvent(new Event('input'))")
        await page.until("shown.length === 500")
        await page.run("scrollTo(0, document.body.scrollHeight)")
        await page.until(f"{COUNT} > 48")
    # Chromium reports that the videos are not there; the page itself makes no error.
    assert [each for each in page.errors if "ERR_FILE_NOT_FOUND" not in json.dumps(each)] == []


async def test_a_narrow_screen_shows_all_of_it(tmp_path: Path) -> None:
    page_file = made(tmp_path)
    async with a_page(tmp_path / "profile") as page:
        await page.resize(360, 640)
        await page.open(page_file)
        assert await page.run("document.documentElement.scrollWidth") == 360
        rights = (
            "[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right)"
        )
        assert await page.run(f"Math.max(...{rights})") <= 360
        await page.run("sort.value = 'index'; sort.dispatchEvent(new Event('change'))")
        long = "document.querySelectorAll('.prompt')[2]"
        height = await page.run(f"{long}.offsetHeight")
        assert height < 120  # a long prompt is cut to four lines, until it is clicked
        await page.run(f"{long}.click()")
        assert await page.run(f"{long}.offsetHeight") > 2 * height
