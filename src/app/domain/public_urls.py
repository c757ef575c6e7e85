"""Addresses that people give: which of them may be handed on. Nothing is looked up: only what is written counts."""

import ipaddress
import re
from urllib.parse import urlsplit

MOST_CHARS = 2_000
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_TOP = re.compile(r"[a-z]{2,63}")
_PRIVATE_ENDINGS = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "corp",
    "home",
    "lan",
    "private",
    "onion",
    "test",
    "example",
    "invalid",
    "alt",
    "home.arpa",
    "in-addr.arpa",
    "ip6.arpa",
)
"""Names that mean something at home only, and those that anybody can point at such a place."""
_REBINDING = ("nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com")


def refuse_url(url: str) -> str | None:
    """Why an address is not handed on, as a clause; None for an https address on a public host by its plain name."""
    if len(url) > MOST_CHARS:
        return f"has more than {MOST_CHARS} characters"
    if not url.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        return "holds characters that do not belong into a URL; write them percent-encoded"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if url[:8].lower() != "https://":
        return "must begin with https://"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if port not in (None, 443):
        return "must not name a port"
    if not host:
        return "names no host"
    return _refuse_host(host)


def _refuse_host(host: str) -> str | None:
    name = host.removesuffix(".").lower()
    if name.startswith("[") or ":" in name or _is_numeric(name):
        return "must name its host, not give an address in numbers"
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "does not name a public host"
    if any(label.startswith("xn--") for label in labels):
        return "names its host in letters that are easily mistaken for others"
    if not _TOP.fullmatch(labels[-1]) or _ends_with(name, _PRIVATE_ENDINGS) or _ends_with(name, _REBINDING):
        return "does not name a public host"
    return None


def _is_numeric(name: str) -> bool:
    """Addresses in all the ways that some resolver reads: dotted, one number, octal, hexadecimal."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return all(re.fullmatch(r"0x[0-9a-f]*|[0-9]+", label) for label in name.split("."))
    return True


def _ends_with(name: str, endings: tuple[str, ...]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
