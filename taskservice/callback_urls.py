"""Where callbacks may go: which URLs are accepted, and which addresses are connected to.

A URL is judged when a task is submitted, as far as its text goes; the addresses that its host's name stands for, when it is
connected to, each time: a name may stand for others by then. Connected is to the address that was judged.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

URL_CHARS_MAX = 2_048

PRIVATE_SETTING = "callback_private_networks"
"""The setting that allows loopback and private networks."""

Address = IPv4Address | IPv6Address

_TEXT = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")
_NAT64 = IPv6Network("64:ff9b::/96")
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"))
)
_METADATA = (ip_address("100.100.100.200"), ip_address("fd00:ec2::254"))
"""Where clouds tell their machines their credentials, besides link-local addresses."""


def check_url(url: str, *, private_networks: bool) -> None:
    """Raises ValueError, whose message can be shown, if a callback can never go there."""
    if len(url) > URL_CHARS_MAX:
        raise ValueError(f"it is longer than {URL_CHARS_MAX} characters")
    if not _TEXT.fullmatch(url) or "\\" in url:
        raise ValueError("use printable ASCII characters, others percent-encoded, and no backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"it is no URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("it must not hold a user's name or a password; callbacks are signed instead")
    if "#" in url:
        raise ValueError("it must not have a fragment (#)")
    if port == 0:
        raise ValueError("there is no port 0")
    _check_host(parts.hostname or "", private_networks=private_networks)


def _check_host(host: str, *, private_networks: bool) -> None:
    address = _literal(host)
    if address is not None:
        refusal = address_refusal(address, private_networks=private_networks)
        if refusal:
            raise ValueError(refusal)
        return
    labels = host.rstrip(".").split(".")
    if not _NAME.fullmatch(host) or len(host) > 253 or _NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{host[:80]!r} is neither a host's name nor an address")
    name = "." + ".".join(labels).lower()
    if not private_networks and any(name.endswith(f".{local}") for local in _LOCAL_NAMES):
        raise ValueError(f"{host} names this machine or network ({PRIVATE_SETTING} is false)")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def address_refusal(address: Address, *, private_networks: bool) -> str:
    """Why nothing is sent to that address; empty if it may be. `private_networks`: whether loopback and private ones are allowed;
    link-local ones, among them those where clouds keep credentials, never are."""
    inner = _embedded(address)
    if inner is not None:
        why = address_refusal(inner, private_networks=private_networks)
        return f"{address} stands for {inner}: {why}" if why else ""
    if address in _METADATA or address.is_link_local:
        return f"{address} is link-local, or where a cloud keeps credentials; callbacks never go there"
    if address.is_loopback or any(address in network for network in _PRIVATE):
        return "" if private_networks else f"{address} is private, or of this machine ({PRIVATE_SETTING} is false)"
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return f"{address} is no address of a single machine on the internet"
    return ""


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return IPv4Address(address.packed[-4:]) if address in _NAT64 else None
