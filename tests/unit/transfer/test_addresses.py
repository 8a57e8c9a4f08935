"""The address of a result: requested, redirected and shown as it should be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import DownloadError
from keevx_async.transfer.addresses import file_name, redirect_url, request_url, without_query


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("https://h/a%2Fb%27c?sig=x%2By%2F%3D&n='(1)'", "/a%2Fb%27c?sig=x%2By%2F%3D&n='(1)'"),
        ("https://h/a/../b//c/./d?x=a/../b", "/a/../b//c/./d?x=a/../b"),
        ("https://h/my video.mp4?name=a b", "/my%20video.mp4?name=a%20b"),
        ("https://h/é%C3%a9?x=%7e~", "/%C3%A9%C3%a9?x=%7e~"),
        ("https://h/\udcff", "/%FF"),  # a byte of a header that is not UTF-8
        ("https://h/a\r\nX: y", "/a%0D%0AX:%20y"),
        (" https://h/a\n", "/a"),
        ("https://h?x=1#part", "/?x=1"),
        ("https://h", "/"),
        ('https://h/100%/"a"|b', '/100%/"a"|b'),
    ],
)
def test_a_path_is_requested_as_it_is_given(url: str, requested: str) -> None:
    assert request_url(url).raw_path_qs == requested


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://bücher.example/a", "xn--bcher-kva.example"),
        ("https://[fd00::1]:8443/a", "fd00::1"),
        ("HTTPS://Storage.Example./a", "storage.example."),
    ],
)
def test_a_host_is_encoded(url: str, host: str) -> None:
    assert request_url(url).raw_host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "i2v-1",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://h/a",
        "https://",
        "https:///a",
        "https://user@/a",
        "https://ho st/a",
        "https://h\0/a",
        "https://[::1/a",
        "https://h:99999/a",
        "https://a..b/a",
        f"https://{'x' * 64}.example/a",
        f"https://{'é' * 64}.example/a",
        "https://℀.example/a",
        "https://h/\ud800",
    ],
)
def test_what_cannot_be_requested_is_refused(url: str) -> None:
    with pytest.raises(DownloadError, match=r"not an http\(s\) URL"):
        request_url(url)


@given(st.text() | st.text().map("https://{}".format) | st.text().map("http://h/{}".format))
def test_any_text_is_an_address_or_a_download_error(url: str) -> None:
    try:
        requested = request_url(url).raw_path_qs
    except DownloadError:
        return
    assert requested.isascii()
    assert requested.isprintable()
    assert " " not in requested


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        (
            "https://o/w/a%2Fb?s=a%2Bb%27&u=%C3%A9+z%7E",
            "https://o/w/a%2Fb?s=a%2Bb%27&u=%C3%A9+z%7E",
        ),
        ("//o/x%2F", "https://o/x%2F"),
        ("/w/../a%2F?s=%2F", "https://h:8/w/../a%2F?s=%2F"),
        ("?s=%2F", "https://h:8/a/b%2Fc/d?s=%2F"),
        ("e%2Ff", "https://h:8/a/b%2Fc/e%2Ff"),
        ("../e", "https://h:8/a/e"),
        (" https://o/a b ", "https://o/a b"),
    ],
)
def test_a_redirect_leads_where_it_says(location: str, leads_to: str) -> None:
    assert redirect_url("https://h:8/a/b%2Fc/d?sig=x#f", location) == leads_to


@pytest.mark.parametrize("location", ["ftp://o/x?key=hush", "file:///x", "http:x", "https://a..b/"])
def test_a_redirect_to_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(DownloadError, match="redirects to") as caught:
        redirect_url("https://me:hush@h/a?sig=hush", location)
    assert "hush" not in str(caught.value)


def test_nothing_secret_is_shown() -> None:
    assert without_query("https://me:hush@h/a@b.mp4?sig=hush#hush") == "https://h/a@b.mp4"
    assert without_query("/a?b") == "/a"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.mp4?c=d/e.webm#f/g", "b.mp4"),
        ("https://h/a/", ""),
        ("https://h", ""),
        ("https://h?x=/y", ""),
        ("https://[::1/a.mp4", "a.mp4"),
    ],
)
def test_the_last_part_of_a_path_is_a_name(url: str, name: str) -> None:
    assert file_name(url) == name
