"""lumaai."""

from __future__ import annotations

from lumaai import AsyncLumaAI

from .common import IMAGE, KEY, Create, measure, prompt


def peer(url: str) -> Create:
    client = AsyncLumaAI(auth_token=KEY, base_url=f"{url}/luma")

    async def create(number: int) -> str:
        generation = await client.generations.create(
            model="ray-2",
            prompt=prompt(number),
            keyframes={"frame0": {"type": "image", "url": IMAGE}},
            aspect_ratio="16:9",
            resolution="1080p",
            duration="5s",
        )
        return str(generation.id)

    return create


if __name__ == "__main__":
    measure(peer)
