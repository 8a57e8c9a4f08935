"""runwayml."""

from __future__ import annotations

from runwayml import AsyncRunwayML

from .common import IMAGE, KEY, Create, measure, prompt


def peer(url: str) -> Create:
    client = AsyncRunwayML(api_key=KEY, base_url=f"{url}/runway")

    async def create(number: int) -> str:
        task = await client.image_to_video.create(
            model="gen4_turbo",
            prompt_image=IMAGE,
            prompt_text=prompt(number),
            ratio="1280:720",
            duration=5,
        )
        return task.id

    return create


if __name__ == "__main__":
    measure(peer)
