"""A service that makes videos: FastAPI around one Keevx, with metrics, traces and readiness.

pip install "keevx_async[fastapi,otel,docket]" opentelemetry-sdk opentelemetry-exporter-prometheus
export KEEVX_API_KEY=… CALLBACK_URL=https://you.example/keevx CALLBACK_SECRET=…
python service.py
"""

import os
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Header, Response
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from keevx_async import CallbackReceiver, ImageToVideo, Keevx
from keevx_async.contrib.fastapi import Client, KeevxService
from keevx_async.contrib.otel import Telemetry
from keevx_async.docket import RedisJournal


def create_app(keevx: Keevx, receiver: CallbackReceiver, folder: str) -> FastAPI:
    """Return the app; the client is opened and closed with it."""
    service = KeevxService(keevx, callbacks=receiver, download=folder)
    app = FastAPI(lifespan=service.lifespan)
    service.install(app)

    @app.post("/videos", status_code=202)
    async def order(
        video: Annotated[ImageToVideo, Body()],
        idempotency_key: Annotated[str, Header()],
        keevx: Client,
    ) -> dict[str, Any]:
        submission = await keevx.submit(video, key=idempotency_key)
        service.follow(submission.task_ids)
        return {"key": submission.key, "task_ids": submission.task_ids}

    @app.get("/videos/{task_id}")
    async def status(task_id: str, keevx: Client) -> dict[str, Any]:
        return (await keevx.status(task_id)).to_dict()

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def app() -> FastAPI:
    """Return the app as the environment configures it: uvicorn --factory service:app."""
    trace.set_tracer_provider(TracerProvider())  # add your exporter
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    receiver = CallbackReceiver(os.environ["CALLBACK_URL"], secret=os.environ["CALLBACK_SECRET"])
    where = os.environ.get("JOURNAL", "videos.db")  # several workers need one in Redis
    journal = RedisJournal.from_url(where) if where.startswith("redis") else where
    keevx = Keevx(journal=journal, callbacks=receiver, on_event=Telemetry())
    return create_app(keevx, receiver, os.environ.get("VIDEOS", "videos"))


if __name__ == "__main__":
    port, workers = int(os.environ.get("PORT", "8000")), int(os.environ.get("WORKERS", "1"))
    # No access log: callback URLs are secret. 40 s are more than RetryPolicy.grace.
    config: dict[str, Any] = {"access_log": False, "timeout_graceful_shutdown": 40}
    uvicorn.run("service:app", factory=True, port=port, workers=workers, **config)
