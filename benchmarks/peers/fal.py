"""fal-client, with the URL of its queue replaced.

FAL_QUEUE_RUN_HOST can set the queue's host, but the URL would always start with https. The URL's
constant is therefore set to the benchmark's server; nothing else is changed.
"""

from __future__ import annotations

import fal_client
from fal_client import client as fal_module

from .common import IMAGE, KEY, Create, measure, prompt


def peer(url: str) -> Create:
    fal_module.QUEUE_URL_FORMAT = f"{url}/fal/"
    client = fal_client.AsyncClient(key=KEY)

    async def create(number: int) -> str:
        arguments = {"prompt": prompt(number), "image_url": IMAGE, "aspect_ratio": "16:9"}
        return str((await client.submit("fal-ai/image-to-video", arguments)).request_id)

    return create


if __name__ == "__main__":
    measure(peer)
