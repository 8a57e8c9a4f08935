"""Values around every limit of the models' rules."""

from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from keevx_async import ImageToVideo, InvalidRequest


class Page(NamedTuple):
    """One model's column of the page."""

    resolutions: list[str]
    with_start_frame: list[int]  # durations; empty: it takes no start frame
    references_alone: list[int]  # durations; empty: references alone are not enough
    most_references: int
    end_frame: bool
    audio: bool


PAGES = {
    "V": Page(["720p", "1080p", "4k"], [4, 6, 8], [8], 3, end_frame=True, audio=True),
    "KL": Page(["720p", "1080p"], [], [5, 10], 7, end_frame=False, audio=False),
    "S": Page(["720p"], [4, 8, 12], [], 0, end_frame=False, audio=False),
}


GOOD_URLS = [
    "https://example.com/start_frame.jpg",
    "http://example.com",
    "HTTPS://EXAMPLE.COM/A.PNG?x=1&y=%20#top",
    "https://user:pass@example.com:8443/a.webp",
    "https://例え.jp/画像.jpg",
    "http://127.0.0.1:8080/a",
    "http://[::1]:8080/a",
]


BAD_URLS: list[Any] = [
    "",
    " ",
    "/start.jpg",
    "start.jpg",
    "./images/start.jpg",
    "//example.com/start.jpg",
    "example.com/start.jpg",
    "https://",
    "https:///start.jpg",
    "https://?x=1",
    "https://:443/start.jpg",
    "https:start.jpg",
    "ftp://example.com/start.jpg",
    "file:///home/me/start.jpg",
    "data:image/png;base64,iVBORw0KGgo=",
    "https://exam ple.com/a.jpg",
    "https://example.com/my photo.jpg",
    " https://example.com/a.jpg",
    "https://example.com/a.jpg\n",
    "https://example.com/a\x00.jpg",
    "https://example.com:70000/a.jpg",
    b"https://example.com/a.jpg",
    7,
    True,
    ["https://example.com/a.jpg"],
]


PATHS = [Path("start.jpg"), Path("/home/me/my photo.png"), Path("..") / "a.webp"]


GOOD_PROMPTS = [
    "a",
    "x" * 1000,
    "\N{GRINNING FACE}" * 1000,
    "  a dog\nruns ",
    "犬が走る",
    "file:not-a-path",
]


BAD_PROMPTS: list[Any] = ["", " ", "\t\n ", "x" * 1001, "\ud800", None, 5, b"a", ["a"]]


image = st.sampled_from([*GOOD_URLS, *PATHS])


maybe_image = st.none() | image


@st.composite
def taken(draw: st.DrawFn) -> dict[str, Any]:
    """Fields that the page takes."""
    model = draw(st.sampled_from(sorted(PAGES)))
    page = PAGES[model]
    started = bool(page.with_start_frame) and (not page.references_alone or draw(st.booleans()))
    fewest = 0 if started else 1
    fields = {
        "model": model,
        "prompt": draw(st.sampled_from(GOOD_PROMPTS)),
        "aspect_ratio": draw(st.sampled_from(["16:9", "9:16"])),
        "aspect_resolution": draw(st.sampled_from(page.resolutions)),
        "duration": draw(
            st.sampled_from(page.with_start_frame if started else page.references_alone)
        ),
        "reference_images": draw(
            st.lists(image, min_size=fewest, max_size=max(fewest, page.most_references))
            if page.most_references
            else st.just([])
        ),
        "generate_audio": draw(st.booleans()) if page.audio else False,
        "generate_count": draw(st.integers(1, 4)),
        "callback_url": draw(st.none() | st.sampled_from(GOOD_URLS)),
    }
    if started:
        fields["image_url"] = draw(image)
        if page.end_frame:
            fields["end_image_url"] = draw(maybe_image)
    return fields


def is_accepted(fields: dict[str, Any]) -> bool:
    try:
        ImageToVideo(**fields)
    except InvalidRequest:
        return False
    return True


# The create page's own example, word for word.
VENDORS_EXAMPLE = {
    "model": "V",
    "prompt": "A golden retriever running in the grass, sunny day, cinematic lighting",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
    "image_url": "https://example.com/start_frame.jpg",
    "reference_images": ["https://example.com/ref1.jpg", "https://example.com/ref2.jpg"],
    "generate_audio": True,
    "generate_count": 1,
    "callback_url": "https://your-server.com/callback",
}
