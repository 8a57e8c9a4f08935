"""openai: a video from a prompt and a reference image.

By its type, the argument for the image accepts a URL, but the call rejects it. The URL is therefore
passed in ``extra_body``.
"""

from __future__ import annotations

from openai import AsyncOpenAI

from .common import IMAGE, KEY, Create, measure, prompt


def peer(url: str) -> Create:
    client = AsyncOpenAI(api_key=KEY, base_url=f"{url}/openai")

    async def create(number: int) -> str:
        video = await client.videos.create(
            model="sora-2",
            prompt=prompt(number),
            extra_body={"input_reference": {"image_url": IMAGE}},
            seconds="8",
            size="1280x720",
        )
        return video.id

    return create


if __name__ == "__main__":
    measure(peer)
