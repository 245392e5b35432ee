"""URLs are read as browsers read them, shown without secrets, and lead to public hosts only."""

import pytest

from imgprep.io.web.addresses import UrlError, is_public, parse_url, url_identity
from imgprep.io.web.routes import Routes


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (" http://example.org ", "http://example.org/"),
        ("HTTP://EXAMPLE.org:80/A", "http://example.org/A"),
        ("https://example.org:443?q", "https://example.org/?q"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
        ("http://example.org/a+b c%20d", "http://example.org/a+b%20c%20d"),
        ("http://example.org/100%/[1].jpg?size=[2]|'", "http://example.org/100%/[1].jpg?size=[2]|'"),
        ('http://example.org/"<ü>"', "http://example.org/%22%3C%C3%BC%3E%22"),
        ("http://Bücher.example/", "http://xn--bcher-kva.example/"),
        ("http:/example.org/a", "http://example.org/a"),
        ("http://me:p%40ss@example.org/", "http://me:p%40ss@example.org/"),
        ("http://my_bucket.example./", "http://my_bucket.example/"),
        ("http://[2001:DB8::1]:81/", "http://[2001:db8::1]:81/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.01/", "http://127.0.0.1/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),
        ("http://%31%32%37.0.0.1/", "http://127.0.0.1/"),
        ("http://１２７.1/", "http://127.0.0.1/"),
        ("http://good.example\\@127.0.0.1/", "http://good.example%5C@127.0.0.1/"),
        ("http://%31%32%37.1/", "http://127.0.0.1/"),
        ("http://example.org/new/\nline.png", "http://example.org/new/line.png"),
        ("http://exam\r\nple.org/a\t.png", "http://example.org/a.png"),
        ("\u200b\ufeffhttp://example.org/a.png\u200b", "http://example.org/a.png"),
    ],
)
def test_a_url_is_asked_for_as_a_browser_asks(text, asked):
    assert parse_url(text).text == asked
    assert parse_url(asked).text == asked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *[
            (text, "bad_url")
            for text in (None, "", "  ", float("nan"), 7, "example.org/a.jpg", "/a.jpg", "//a.example")
        ],
        *[(f"http://{rest}", "bad_url") for rest in ("", "a b/", "a:99999/", "a:x/", "1.2.3.4.5/", "999.1.1.1/")],
        *[(f"http://{rest}", "bad_url") for rest in ("[::1", "a\x00b", "a,b", "ü..b", "ü" * 64, "4294967296")],
        ("http://example.org/\ud800", "bad_url"),
        *[(text, "unsupported_scheme") for text in ("file:///etc/passwd", "ftp://a/b", "data:image/png;base64,AAAA")],
        *[(text, "unsupported_scheme") for text in ("javascript:alert(1)", "s3://bucket/a", "gopher://a/")],
    ],
)
def test_what_is_no_web_address_says_why(text, reason):
    with pytest.raises(UrlError) as caught:
        parse_url(text)
    assert caught.value.reason == reason


PRIVATE = """0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 192.0.2.1 192.168.1.1
    198.18.0.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 168.63.129.16 100.100.100.200 :: ::1 ::127.0.0.1
    ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 2002:7f00:1:: fe80::1 fe80::1%eth0
    fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 nonsense
    192.0.0.1 192.0.0.9 192.0.0.170 192.88.99.1 192.31.196.1 192.52.193.1 192.175.48.1 198.51.100.1 203.0.113.9
    64:ff9b:1::7f00:1 64:ff9b::192.88.99.1 100::1 100:0:0:1::1 2001::1 2001:1::1 2001:20::1 2001:30::1
    2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 ::ffff:192.0.0.8 ::ffff:0:127.0.0.1""".split()
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
NO_HOSTS = ["127.0.0.1", ["a:80"], ["http://a"], ["a/b"], ["10.0.0.0/99"], [""], [None], ["a b"], ["u@a"]]


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_and_special_addresses_are_not_public(ip):
    assert not is_public(ip)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_are_public(ip):
    assert is_public(ip)


@pytest.mark.parametrize(
    ("url", "ip", "may"),
    [
        ("http://intranet/", "172.16.0.1", True),
        ("http://sub.intranet/", "172.16.0.1", False),
        ("http://any.example/", "10.255.0.1", True),
        ("http://any.example/", "::ffff:10.255.0.1", True),
        ("http://any.example/", "11.0.0.1", True),
        ("http://any.example/", "192.168.1.8", False),
        ("http://any.example/", "192.168.1.7", True),
        ("http://[::1]/", "::1", True),
        ("http://[::2]/", "::2", False),
    ],
)
def test_private_hosts_are_allowed_by_name_address_or_network(url, ip, may):
    assert Routes(["Intranet", "10.0.0.0/8", "192.168.1.7", "[::1]"]).may_connect(parse_url(url), ip) is may


@pytest.mark.parametrize("entries", NO_HOSTS)
def test_what_is_no_host_is_refused_by_name(entries):
    with pytest.raises(ValueError, match="allow_hosts"):
        Routes(entries)


def test_a_new_signature_names_the_same_picture_and_other_parameters_another():
    one = "https://b.example/1.jpg?v=2&X-Amz-Date=1&X-Amz-Signature=2"
    assert url_identity(one) == url_identity(one.replace("=1", "=5").replace("e=2", "e=6")) == "https://b.example/1.jpg?v=2"
    azure = "https://a.example/c/1.jpg?sv=2022&st=1&se=2&sr=b&sp=r&sig=abc%3D"
    assert url_identity(azure) == "https://a.example/c/1.jpg"
    assert url_identity("https://me:pw@a.example/1") == "https://a.example/1"
    unsigned = [
        "https://a.example/get?key=cat&sp=1",
        "https://a.example/get?key=dog&sp=1",
        "https://a.example/get?token=x",
    ]
    assert [url_identity(url) for url in unsigned] == unsigned
