"""A hand-written httpx loop, for information: most peers are built on httpx."""

from __future__ import annotations

import httpx

from .common import KEY, Create, body, measure


def peer(url: str) -> Create:
    client = httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)

    async def create(number: int) -> str:
        response = await client.post(f"{url}/v1/image_to_video", json=body(number))
        return str(response.raise_for_status().json()["data"]["task_ids"][0])

    return create


if __name__ == "__main__":
    measure(peer)
