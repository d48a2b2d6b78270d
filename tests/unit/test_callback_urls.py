"""Where callbacks may go: what is refused when a task is submitted, and which addresses are never connected to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from taskservice.callback_urls import URL_CHARS_MAX, address_refusal, check_url

PUBLIC = [
    "8.8.8.8",
    "192.88.99.1",
    "172.32.0.1",
    "100.63.255.255",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1", "fd00::1",
    "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2002:a00:1::",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1",
    "239.1.1.1", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "2001:db8::1", "::7f00:1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "64:ff9b:1::1", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("private_networks", [False, True])
def test_the_internet_is_allowed(address: str, private_networks: bool) -> None:
    assert address_refusal(ip_address(address), private_networks=private_networks) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_a_matter_of_the_setting(address: str) -> None:
    assert "callback_private_networks is false" in address_refusal(ip_address(address), private_networks=False)
    assert address_refusal(ip_address(address), private_networks=True) == ""


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("private_networks", [False, True])
def test_what_is_no_machines_address_or_a_clouds_is_never_called(address: str, private_networks: bool) -> None:
    assert address_refusal(ip_address(address), private_networks=private_networks)


@pytest.mark.parametrize("address", ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1"])
def test_tunnels_are_not_used(address: str) -> None:
    """Teredo: whatever is at their other end."""
    assert address_refusal(ip_address(address), private_networks=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com:8080/a/b?c=d%20e&f",
        "https://xn--bcher-kva.example/",
        "https://a_b.example./x",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:443/",
        "HTTPS://Example.COM/",
    ],
)
def test_urls_that_may_be_called(url: str) -> None:
    check_url(url, private_networks=False)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("example.com/x", "https://"),
        ("javascript:alert(1)", "https://"),
        ("https:///x", "neither"),
        ("https://user:word@example.com/", "password"),
        ("https://user@example.com/", "password"),
        ("https://example.com@127.0.0.1/", "password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "no URL"),
        ("https://example.com:x/", "no URL"),
        ("https://exa mple.com/", "ASCII"),
        ("https://example.com/\r\nHost: x", "ASCII"),
        ("https://bücher.example/", "ASCII"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://[::1", "no URL"),
        ("https://-a.example/", "neither"),
        ("https://a..example/", "neither"),
        ("https://" + "a" * 64 + ".example/", "neither"),
        ("https://example.com/" + "x" * URL_CHARS_MAX, f"longer than {URL_CHARS_MAX}"),
        ("http://127.0.0.1/", "callback_private_networks"),
        ("http://127.1/", "neither"),
        ("http://2130706433/", "neither"),
        ("http://0x7f000001/", "neither"),
        ("http://0x7f.1/", "neither"),
        ("http://0177.0.0.1/", "neither"),
        ("http://1.2.3.4.5/", "neither"),
        ("http://[::1]:8700/", "callback_private_networks"),
        ("http://[::ffff:127.0.0.1]/", "stands for 127.0.0.1"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://localhost:8700/", "callback_private_networks"),
        ("http://LOCALHOST./", "callback_private_networks"),
        ("http://a.localhost/", "callback_private_networks"),
        ("http://metadata.google.internal/", "callback_private_networks"),
        ("http://printer.local/", "callback_private_networks"),
    ],
)
def test_urls_that_are_refused_say_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_url(url, private_networks=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:80/", "http://localhost/", "http://10.1.2.3/", "http://a.internal/"])
def test_private_urls_may_be_allowed(url: str) -> None:
    check_url(url, private_networks=True)


def test_link_local_ones_never_are() -> None:
    with pytest.raises(ValueError, match="link-local"):
        check_url("http://169.254.169.254/", private_networks=True)
