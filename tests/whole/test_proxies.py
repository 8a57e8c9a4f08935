"""Proxies and certificates of the environment: the same rule for API calls and downloads."""

import asyncio
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import trustme
from yarl import URL

from keevx_async import ConfigurationError, ConnectionFailed, DownloadError, Keevx, RetryPolicy
from keevx_async.http.certificates import tls_context
from keevx_async.http.proxies import find_proxy, is_excluded
from keevx_async.http.socks import require_socks
from keevx_async.http.timeouts import exchange_timeout
from keevx_async.http.transport import AiohttpTransport
from tests.support.ports import refusing
from tests.support.proxies import listening

VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(3000)
QUICK = RetryPolicy(attempts=2, first_delay=0.01)
HTTP = {"http": "http://proxy.example:3128", "https": "http://proxy.example:3129"}


def answer(body: bytes = VIDEO, head: str = "200 OK", *lines: str) -> bytes:
    fields = (f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", "Connection: close", *lines)
    return "\r\n".join([*fields, "", ""]).encode() + body


# --- Which proxy leads to an origin


@pytest.mark.parametrize(
    ("entries", "host", "port", "excluded"),
    [
        ("*", "any.example", 443, True),
        ("a.example, *", "any.example", 443, True),
        ("", "any.example", 443, False),
        ("example.com", "example.com", 443, True),
        ("example.com", "a.b.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        (".example.com", "example.com", 443, True),
        (".example.com", "a.example.com", 443, True),
        ("*.example.com", "a.example.com", 443, True),
        ("*.example.com", "example.com", 443, True),
        ("*.example.com", "example.com.evil.example", 443, False),
        ("EXAMPLE.com.", "Example.COM", 443, True),
        ("example.com", "example.com.", 443, True),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("one.example two.example", "two.example", 443, True),
        ("one.example,,\ttwo.example", "two.example", 443, True),
        ("example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "a.example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3", "110.1.2.3", 80, False),
        ("10.1.2.3:81", "10.1.2.3", 81, True),
        ("10.1.2.3:81", "10.1.2.3", 80, False),
        ("10.0.0.0/8", "10.200.0.1", 80, True),
        ("10.0.0.0/8", "11.0.0.1", 80, False),
        ("10.1.2.3/8", "10.9.9.9", 80, True),
        ("10.0.0.0/8", "ten.example", 80, False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 80, True),
        ("fd00::/8", "fd12::1", 80, True),
        ("fd00::/8", "fe80::1", 80, False),
        ("fd00::/8", "10.0.0.1", 80, False),
        ("[fd00::1]", "fd00::1", 80, True),
        ("[fd00::1]:8080", "fd00::1", 8080, True),
        ("[fd00::1]:8080", "fd00::1", 80, False),
        ("fd00::1", "fd00:0:0::1", 80, True),
        ("10.0.0.0/99", "10.0.0.1", 80, False),
        ("a/b, [, :80, :, .", "10.0.0.1", 80, False),
        ("http://example.com", "example.com", 80, False),
    ],
)
def test_no_proxy_names_what_is_reached_directly(
    entries: str, host: str, port: int, excluded: bool
) -> None:
    assert is_excluded(host, port, entries) is excluded


@pytest.mark.parametrize(
    ("origin", "settings", "expected"),
    [
        ("http://api.example", HTTP, HTTP["http"]),
        ("https://api.example", HTTP, HTTP["https"]),
        ("https://api.example", {"all": "socks5://p:1080"}, "socks5://p:1080"),
        ("https://api.example", {**HTTP, "all": "socks5://p:1080"}, HTTP["https"]),
        ("http://api.example", {"https": "http://p:1"}, None),
        ("http://api.example", {"http": "p:3128"}, "http://p:3128"),
        ("http://api.example", {"http": "  http://p:3128 "}, "http://p:3128"),
        ("http://api.example", {"http": "", "all": "http://p:1"}, "http://p:1"),
        ("https://api.example", {**HTTP, "no": "api.example:443"}, None),
        ("http://api.example", {**HTTP, "no": "api.example:443"}, HTTP["http"]),
        ("https://api.example:8443", {**HTTP, "no": "api.example:443"}, HTTP["https"]),
        ("http://[fd00::1]:8080", {**HTTP, "no": "[fd00::1]"}, None),
        ("http://localhost:8080", HTTP, None),
        ("http://a.localhost", HTTP, None),
        ("http://127.0.0.1", HTTP, None),
        ("http://127.8.8.8", HTTP, None),
        ("http://[::1]:80", HTTP, None),
        ("http://localhost.example", HTTP, HTTP["http"]),
        ("https://api.example", {"https": "https://me:secret@p:1"}, "https://me:secret@p:1"),
    ],
)
def test_an_origin_has_its_proxy(
    origin: str, settings: dict[str, str], expected: str | None
) -> None:
    assert find_proxy(origin, settings) == expected


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("http://", "HTTPS_PROXY must be the URL of a proxy"),
        ("http://me:hush@p:port", "HTTPS_PROXY must be the URL of a proxy"),
        ("http://[::1", "HTTPS_PROXY must be the URL of a proxy"),
        ("ftp://me:hush@p:21", "scheme 'ftp'; use one of http, https, socks"),
        ("pac+https://me:hush@p/x.pac", "scheme 'pac[+]https'"),
    ],
)
def test_what_is_not_a_proxy_is_refused_without_its_password(proxy: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        find_proxy("https://api.example", {"https": proxy})
    assert "hush" not in str(caught.value)


def test_a_wrong_proxy_is_named_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://old.example")
    with pytest.raises(ConfigurationError, match="ALL_PROXY"):
        Keevx("test-key", base_url="https://api.example")


# --- SOCKS


async def _socks5(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, int] | None:
    """Take a SOCKS5 greeting and CONNECT (RFC 1928), and say that it is made."""
    _, methods = await reader.readexactly(2)
    offered = await reader.readexactly(methods)
    if 2 in offered:  # RFC 1929
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        assert (user, password) == (b"m@e", b"hu:sh")
        writer.write(b"\x01\x00")
    else:
        writer.write(b"\x05\x00")
    _, _, _, kind = await reader.readexactly(4)
    assert kind == 3, "the proxy is given names, not addresses"
    host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    port = int.from_bytes(await reader.readexactly(2))
    writer.write(b"\x05\x00\x00\x01" + bytes(6))
    return host, port


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
async def test_downloads_go_through_a_socks_proxy(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reached: list[tuple[str, int] | None] = []
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await _socks5(reader, writer))
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer())

    async with listening(serve) as port:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://m%40e:hu%3Ash@127.0.0.1:{port}/")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        async with Keevx("test-key", base_url="https://api.example", retry=QUICK) as keevx:
            path = await keevx.download("http://storage.example:81/a.mp4?x=1", tmp_path)
    assert path.read_bytes() == VIDEO
    assert reached == [("storage.example", 81)]
    assert heads[0].startswith(b"GET /a.mp4?x=1 HTTP/1.1\r\nHost: storage.example:81\r\n")
    assert b"test-key" not in heads[0]


async def test_api_calls_go_through_a_socks_proxy_and_downloads_need_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts: list[tuple[str, int] | None] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append(await _socks5(reader, writer))
        await reader.readuntil(b"\r\n\r\n")
        body = (
            b'{"code":0,"data":{"task_id":"i2v-1","status":"SUCCEEDED","video_url":"http://a/b"}}'
        )
        writer.write(answer(body))

    async def storage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer())

    async with listening(proxy) as port, listening(storage) as direct:
        monkeypatch.setenv("ALL_PROXY", f"socks5://m%40e:hu%3Ash@127.0.0.1:{port}")
        async with Keevx("test-key", base_url="http://api.example", retry=QUICK) as keevx:
            assert (await keevx.status("i2v-1")).succeeded
            await keevx.download(f"http://127.0.0.1:{direct}/a.mp4", tmp_path)
    assert hosts == [("api.example", 80)]


async def test_a_socks_proxy_that_is_not_there_means_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with refusing() as url:
        monkeypatch.setenv("ALL_PROXY", url.replace("http", "socks5"))
        async with Keevx("test-key", base_url="http://api.example", retry=QUICK) as keevx:
            with pytest.raises(ConnectionFailed, match="SOCKS proxy"):
                await keevx.status("i2v-1")
            with pytest.raises(DownloadError, match="SOCKS proxy"):
                await keevx.download("http://storage.example/a.mp4", tmp_path)


def test_socks_without_the_extra_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.http.socks.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'pip install "keevx_async\[socks\]"'):
        require_socks()
    monkeypatch.setenv("ALL_PROXY", "socks5h://proxy.example:1080")
    with pytest.raises(ConfigurationError, match="needs the socks extra"):
        Keevx("test-key", base_url="https://api.example")
    monkeypatch.setenv("NO_PROXY", "*.example")
    Keevx("test-key", base_url="https://api.example")


# --- Certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", None])
async def test_an_authority_of_the_environment_is_trusted(
    variable: str | None,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    if variable:
        monkeypatch.setenv(variable, str(bundle))

    async def storage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer())

    async with listening(storage, tls) as port:
        url = f"https://127.0.0.1:{port}/a.mp4"
        async with Keevx("test-key", base_url="https://127.0.0.1:1", retry=QUICK) as keevx:
            if variable:
                assert (await keevx.download(url, tmp_path)).read_bytes() == VIDEO
            else:
                with pytest.raises(DownloadError, match="ertificate"):
                    await keevx.download(url, tmp_path)


def test_ssl_cert_file_comes_before_requests_ca_bundle(
    authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    both = {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": "/nowhere"}
    context = tls_context(both)
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname
    assert isinstance(tls_context({"REQUESTS_CA_BUNDLE": str(tmp_path)}), ssl.SSLContext)
    assert isinstance(tls_context({"SSL_CERT_DIR": f"/nowhere:{tmp_path}"}), ssl.SSLContext)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (tmp_path / "missing.pem", empty):
        monkeypatch.setenv(variable, str(path))
        with pytest.raises(ConfigurationError, match=rf"{variable} names .*{path.name}"):
            Keevx("test-key", base_url="https://api.example")


@pytest.mark.parametrize("platform", ["win32", "darwin", "linux"])
def test_truststore_is_used_where_the_system_store_is_not_a_file(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store(ssl.SSLContext):
        pass

    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setitem(sys.modules, "truststore", SimpleNamespace(SSLContext=Store))
    found = tls_context({})
    assert found is True if platform == "linux" else isinstance(found, Store)
    monkeypatch.setitem(sys.modules, "truststore", None)
    assert tls_context({}) is True


async def test_a_borrowed_session_keeps_its_own_proxies_and_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://old.example")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    async with aiohttp.ClientSession() as session:
        made = AiohttpTransport("https://api.example", {}, exchange_timeout(5), session)
        assert (await made.route(URL("https://storage.example")))[1] is None
        await made.close()
