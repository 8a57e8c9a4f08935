"""OpenTelemetry: a span for every exchange with Keevx, without secrets.

pip install keevx_async opentelemetry-sdk opentelemetry-instrumentation-aiohttp-client
"""

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.trace import Span, TracerProvider
from yarl import URL

HEADER = "http.request.header.authorization"


def trace_exchanges(provider: TracerProvider | None = None) -> None:
    """Trace every aiohttp session opened from now on; call it once, at start-up.

    Args:
        provider: the tracer provider; the global one by default.
    """
    AioHttpClientInstrumentor().instrument(
        tracer_provider=provider, url_filter=without_query, request_hook=hide_key
    )


def without_query(url: URL) -> str:
    """Return the URL without its query, which may be a signature."""
    return str(url.with_query(None))


def hide_key(span: Span, _: aiohttp.TraceRequestStartParams) -> None:
    """Mask the API key, in case the environment asks for headers to be captured."""
    span.set_attribute(HEADER, ["[REDACTED]"])
