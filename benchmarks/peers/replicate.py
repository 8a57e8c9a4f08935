"""replicate."""

from __future__ import annotations

import replicate

from .common import IMAGE, KEY, Create, measure, prompt


def peer(url: str) -> Create:
    client = replicate.Client(api_token=KEY, base_url=f"{url}/replicate")

    async def create(number: int) -> str:
        inputs = {"prompt": prompt(number), "image": IMAGE, "aspect_ratio": "16:9"}
        return str((await client.predictions.async_create(version="v" * 64, input=inputs)).id)

    return create


if __name__ == "__main__":
    measure(peer)
