"""OpenTelemetry: a span for every exchange with Keevx, and nothing secret in any.

pip install keevx_async opentelemetry-sdk opentelemetry-instrumentation-aiohttp-client
"""

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.trace import Span, TracerProvider
from yarl import URL

HEADER = "http.request.header.authorization"


def trace_exchanges(provider: TracerProvider | None = None) -> None:
    """Have every aiohttp session opened from now on traced; call it once, at the start.

    Args:
        provider: by default the global one.
    """
    AioHttpClientInstrumentor().instrument(
        tracer_provider=provider, url_filter=without_query, request_hook=hide_key
    )


def without_query(url: URL) -> str:
    """Return the URL without what may be a signature."""
    return str(url.with_query(None))


def hide_key(span: Span, _: aiohttp.TraceRequestStartParams) -> None:
    """Cover the API key, should the environment ask for headers to be captured."""
    span.set_attribute(HEADER, ["[REDACTED]"])
