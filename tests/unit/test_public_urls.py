"""Which addresses of people are handed on, by what is written alone."""

import pytest

from app.domain.public_urls import refuse_url


@pytest.mark.parametrize(
    "url",
    [
        "https://upload.wikimedia.org/a/b.png",
        "https://cdn.islamic-art.com:443/x.jpg?size=2#top",
        "https://EXAMPLE.org/percent%20encoded",
        "https://a.b.c.d.co.uk/",
        "https://1.fm/cover.png",
    ],
)
def test_public_ones_are(url: str) -> None:
    assert refuse_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//example.org/a.png",
        "https:example.org/a.png",
        "https:///a.png",
        "https://",
        "https://user:secret@example.org/a.png",
        "https://example.org@169.254.169.254/",
        "https://example.org:8443/a.png",
        "https://example.org:99999/a.png",
        "https://localhost/a.png",
        "https://api.localhost/a.png",
        "https://printer.local/",
        "https://metadata.google.internal/computeMetadata",
        "https://intranet/",
        "https://router.home.arpa/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://10.0.0.7/",
        "https://169.254.169.254/latest/meta-data",
        "https://8.8.8.8/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:127.0.0.1]/",
        "https://127.0.0.1.nip.io/",
        "https://localtest.me/",
        "https://xn--pple-43d.com/",
        "https://аpple.com/a.png",
        "https://example。org/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/a b.png",
        "https://example.org/\r\nX-Header: 1",
        "https://-bad.example.org/",
        "https://exa_mple.org/",
        "https://example.123/",
        "https://example..org/",
        "https://example.org/" + "a" * 2_000,
        "",
    ],
)
def test_others_are_not(url: str) -> None:
    assert refuse_url(url)
