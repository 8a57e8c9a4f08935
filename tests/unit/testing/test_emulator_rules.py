"""The emulator's own copy of the vendor's page: what it takes and what it refuses."""

from typing import Any

import pytest

from keevx_async.testing.vendor_rules import PARAMETER, PROMPT_TOO_LONG, image_to_video
from tests.support.rules import VENDORS_EXAMPLE

URL = "https://example.com/a.jpg"
COMMON: dict[str, Any] = {"prompt": "p", "aspect_ratio": "16:9", "aspect_resolution": "720p"}
V = COMMON | {"model": "V", "duration": 8, "image_url": URL}
MULTI = COMMON | {"model": "V", "duration": 8, "reference_images": [URL]}
KL = COMMON | {"model": "KL", "duration": 5, "reference_images": [URL]}
S = COMMON | {"model": "S", "duration": 4, "image_url": URL}


@pytest.mark.parametrize(
    "body",
    [
        VENDORS_EXAMPLE,
        V,
        V | {"duration": 4, "end_image_url": URL, "aspect_resolution": "4k"},
        V | {"prompt": "p" * 1000, "generate_count": 4, "aspect_ratio": "9:16"},
        V | {"reference_images": [URL] * 3},
        MULTI,
        MULTI | {"reference_images": [URL] * 3, "generate_audio": True},
        KL,
        KL | {"reference_images": [URL] * 7, "duration": 10, "aspect_resolution": "1080p"},
        KL | {"generate_audio": False},
        S,
        S | {"duration": 12, "reference_images": []},
    ],
)
def test_what_the_page_allows_is_taken(body: dict[str, Any]) -> None:
    assert image_to_video(body) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "prompt cannot be empty"),
        (V | {"prompt": ""}, "prompt cannot be empty"),
        (V | {"prompt": 1}, "prompt cannot be empty"),
        (V | {"model": "F"}, "model must be"),
        (V | {"model": ["V"]}, "model must be"),
        (V | {"aspect_ratio": "1:1"}, "aspect_ratio must be"),
        (V | {"generate_count": 0}, "generate_count must be"),
        (V | {"generate_count": 5}, "generate_count must be"),
        (V | {"generate_count": True}, "generate_count must be"),
        (V | {"generate_audio": "yes"}, "generate_audio must be"),
        (V | {"image_url": "start.jpg"}, "image_url must be a URL"),
        (V | {"image_url": "http://[bad"}, "image_url must be a URL"),
        (V | {"end_image_url": 1}, "end_image_url must be a URL"),
        (V | {"callback_url": "ftp://example.com"}, "callback_url must be a URL"),
        (MULTI | {"reference_images": URL}, "must be a list of URLs"),
        (MULTI | {"reference_images": [1]}, "must be a list of URLs"),
        (V | {"aspect_resolution": "8k"}, "aspect_resolution of model V"),
        (KL | {"aspect_resolution": "4k"}, "aspect_resolution of model KL"),
        (S | {"aspect_resolution": "1080p"}, "aspect_resolution of model S"),
        (MULTI | {"reference_images": [URL] * 4}, "at most 3"),
        (KL | {"reference_images": [URL] * 8}, "at most 7"),
        (S | {"reference_images": [URL]}, "at most 0"),
        (S | {"end_image_url": URL}, "not supported by model S"),
        (KL | {"generate_audio": True}, "not supported by model KL"),
        (MULTI | {"end_image_url": URL}, "end_image_url needs image_url"),
        (KL | {"image_url": URL}, "not used in model KL"),
        (KL | {"reference_images": []}, "required for model KL"),
        (COMMON | {"model": "S", "duration": 4}, "image_url is required for model S"),
        (COMMON | {"model": "V", "duration": 8}, "required for model V"),
        (V | {"duration": 5}, "duration must be one of (4, 6, 8)"),
        (V | {"duration": "8"}, "duration must be"),
        (V | {"duration": 8.0}, "duration must be"),
        (MULTI | {"duration": 6}, "duration must be one of (8,)"),
        (KL | {"duration": 8}, "duration must be one of (5, 10)"),
        (S | {"duration": 6}, "duration must be one of (4, 8, 12)"),
    ],
)
def test_what_the_page_forbids_is_refused(body: dict[str, Any], message: str) -> None:
    broken = image_to_video(body)
    assert broken is not None
    assert broken[0] == PARAMETER
    assert message in broken[1]


def test_a_prompt_that_is_too_long_has_a_code_of_its_own() -> None:
    broken = image_to_video(V | {"prompt": "p" * 1001})
    assert broken is not None
    assert broken[0] == PROMPT_TOO_LONG
