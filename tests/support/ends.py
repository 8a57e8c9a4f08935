"""An API whose task statuses and results are set by hand."""

from typing import Any

from aiohttp import web


class Api:
    """Keevx, of which the task's status and result are set by hand."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"status": "SUCCEEDED", "video_url": ""}
        self.polls = 0
        self.app = web.Application()
        self.app.router.add_post("/v1/image_to_video", self._create)
        self.app.router.add_get("/v1/image_to_video/{task_id}", self._status)

    async def _create(self, _: web.Request) -> web.Response:
        return web.json_response({"code": 0, "msg": "ok", "data": {"task_ids": ["i2v-1"]}})

    async def _status(self, request: web.Request) -> web.Response:
        self.polls += 1
        data = {"task_id": request.match_info["task_id"], **self.data}
        return web.json_response({"code": 0, "msg": "ok", "data": data})
