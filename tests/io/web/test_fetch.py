"""What the HTTP edge gives for every kind of answer, against real servers on loopback."""

import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hostile_server import HostileServer, make_certificate, picture

import imgprep
from imgprep.failures import REASONS
from imgprep.io.web import politeness, room, transfer
from imgprep.io.web.fetch import Fetcher

ROOT = Path(__file__).parents[3]
LOOPBACK = ["127.0.0.1"]


@pytest.fixture
def server():
    with HostileServer() as one:
        yield one


@pytest.fixture
def quick(monkeypatch):
    """Waits between attempts of a tenth of their length."""
    monkeypatch.setattr(politeness, "BACKOFF_S", 0.1)


def fetch(urls, etags=None, **options):
    """The responses, in the order of the URLs."""
    with Fetcher(**{"allow_hosts": LOOPBACK} | options) as fetcher:
        answers = dict(fetcher.fetch(urls, etags))
    assert sorted(answers) == list(range(len(urls)))  # every row, once
    return [answers[i] for i in range(len(urls))]


def reasons(urls, **options):
    return [r.reason for r in fetch(urls, **options)]


# What each kind of answer becomes

TRAPS = {
    "/ok/a": "",
    "/chunked/b": "",
    "/continued/c": "",
    "/encoded/gzip/d": "",
    "/encoded/deflate/e": "",
    "/hops/5": "",
    "/status/204": "",
    "/encoded/x-nonsense/f": "",
    "/ok/h?Location=/loop": "",
    "/encoded/padded/i": "",
    "/encoded/not-gzip/j": "corrupt",
    "/bomb/gzip": "too_large",
    "/bomb/deflate": "too_large",
    "/bomb/br": "too_large",
    "/announced/99999999": "too_large",
    "/endless": "too_large",
    "/status/404": "http_404",
    "/status/410": "http_410",
    "/status/500": "http_500",
    "/status/304": "http_304",
    "/nowhere": "http_302",
    "/short": "truncated",
    "/cut-chunks": "truncated",
    "/reset": "reset",
    "/hang-up": "reset",
    "/garbage": "reset",
    "/loop": "too_many_redirects",
    "/hops/6": "too_many_redirects",
    "/redirect?to=http://169.254.169.254/latest/meta-data": "blocked_address",
    "/redirect?to=http://[::1]:1/": "blocked_address",
    "/redirect?to=file:///etc/passwd": "unsupported_scheme",
    "/redirect?to=http://a:b/": "bad_url",
    "/silent": "timeout",
    "/headers-without-end": "timeout",
    "/trickle": "timeout",
    "/drip": "too_slow",
    "/ok/g?X-Robots-Tag=noai": "opted_out",
}
SLOW = ("/silent", "/headers-without-end", "/trickle", "/drip", "/bomb/gzip", "/bomb/deflate")


@functools.cache
def trapped(order: int = 1, paths: tuple = tuple(TRAPS)):
    """All traps at once, one attempt each: they must not harm each other."""
    with HostileServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "SPEED_WINDOW_S", 1.5)
        options = dict(attempts=1, per_host=32, max_bytes=2**20, first_byte_timeout_s=1, timeout_s=3)
        started = time.monotonic()
        responses = fetch([server.url + path for path in paths[::order]], **options)
        assert time.monotonic() - started < 6
        return dict(zip(paths[::order], responses, strict=True)), server.port


@pytest.mark.parametrize(("path", "reason"), TRAPS.items())
def test_each_kind_of_answer_has_its_reason(path, reason):
    response = trapped()[0][path]
    assert response.reason == reason
    assert response.reason in ("", *REASONS) or response.reason.startswith("http_")
    assert bool(response.error) == bool(reason)
    assert (response.body is None) == bool(reason)


def test_bodies_arrive_whole_also_compressed_or_in_chunks():
    answers = trapped()[0]
    for path in list(TRAPS)[:5]:
        assert answers[path].body == picture(path[-1])
    assert answers["/hops/5"].body == picture("end")
    assert answers["/ok/a"].etag == '"a"' and answers["/ok/a"].http_status == 200 and answers["/ok/a"].attempts == 1
    assert answers["/status/204"].body == b""


def test_a_word_that_is_no_coding_and_a_location_without_a_redirect_are_ignored():
    answers = trapped()[0]
    for path in ("/encoded/x-nonsense/f", "/encoded/padded/i"):
        assert answers[path].body == picture(path[-1])
    found = answers["/ok/h?Location=/loop"]
    assert found.body == picture("h") and found.attempts == 1


def test_an_answer_that_begins_with_an_empty_line_prints_no_traceback(server, capfd):
    assert reasons([f"{server.url}/empty-line"], attempts=1)[0] in ("", "reset")
    assert capfd.readouterr().err == ""


def test_the_same_answers_give_the_same_sentences():
    fast = tuple(path for path in TRAPS if path not in SLOW)
    one, port = trapped()
    other, _ = trapped(-1, fast)
    for path in fast:
        assert one[path].error == other[path].error
        assert str(port) not in one[path].error


def test_what_is_no_url_is_a_row():
    found = fetch([None, "not a url", "http://", float("nan"), "ftp://127.0.0.1/a", "data:image/png;base64,AA"])
    assert [r.reason for r in found] == ["bad_url"] * 4 + ["unsupported_scheme"] * 2
    assert all(r.attempts == 0 and r.body is None and r.error for r in found)


def test_odd_urls_reach_the_server_as_browsers_send_them(server):
    (response,) = fetch([f" {server.url}/echo/a+b c/é/[1].jpg?x=[2]&y=a+b c#part "])
    asked = json.loads(response.body)
    assert asked["path"] == "/echo/a+b%20c/%C3%A9/[1].jpg?x=[2]&y=a+b%20c"
    assert asked["headers"]["User-Agent"] == f"imgprep/{imgprep.__version__} (no contact given)"


def test_a_known_etag_asks_whether_anything_changed(server):
    urls = [f"{server.url}/ok/{name}" for name in "abc"]
    same, new, plain = fetch(urls, ['"a"', '"old"', None])
    assert same.not_modified and same.body is None and same.reason == "" and same.etag == '"a"'
    assert not new.not_modified and new.body == picture("b") and new.etag == '"b"'
    assert not plain.not_modified and plain.body == picture("c")


def test_max_bytes_is_the_largest_body_that_is_kept(server):
    urls = [f"{server.url}/ok/a", f"{server.url}/chunked/a", f"{server.url}/encoded/gzip/a"]
    assert reasons(urls, max_bytes=50_000) == ["", "", ""]
    assert reasons(urls, max_bytes=49_999) == ["too_large"] * 3


def test_a_body_that_is_announced_too_large_is_not_waited_for(server):
    started = time.monotonic()
    assert reasons([f"{server.url}/announced/1000000"], max_bytes=1000) == ["too_large"]
    assert time.monotonic() - started < 1


# Trying again


def test_only_what_may_pass_is_tried_again(server, quick):
    never = [f"/status/{code}" for code in (400, 401, 403, 404, 410, 451)] + ["/nothing", "/ok/x?X-Robots-Tag=noai"]
    thrice = [f"/status/{code}" for code in (408, 425, 500, 502, 504)] + ["/short", "/cut-chunks"]
    fetch([server.url + path for path in never + thrice])
    for path in ("/reset", "/hang-up"):  # alone: on a kept connection curl asks once more by itself, as RFC 9110 has it
        fetch([server.url + path])
    assert {path: server.asked[path] for path in never} == dict.fromkeys(never, 1)
    assert {path: server.asked[path] for path in thrice} == dict.fromkeys(thrice, 3)
    assert server.asked["/reset"] == server.asked["/hang-up"] == 3


def test_what_passes_is_fetched_after_all(server, quick):
    paths = ["flaky/500/2/a", "flaky/408/1/a", "short/2/a", "reset/2/a", "flaky/503/1/a", "flaky/429/1/a?Retry-After=0"]
    for response in fetch([f"{server.url}/{path}" for path in paths]):
        assert response.reason == "" and response.body == picture("a") and response.attempts > 1


def test_a_row_that_waits_holds_up_no_other(server):
    with Fetcher(allow_hosts=LOOPBACK, in_flight=1) as fetcher:
        urls = [f"{server.url}/flaky/500/1/first"] + [f"{server.url}/ok/{n}" for n in range(20)]
        order = [index for index, _ in fetcher.fetch(urls)]
    assert order.index(0) > 0 and sorted(order) == list(range(21))


def test_a_slow_caller_costs_no_row_its_deadline(server):
    urls = [f"{server.url}/ok/{n}?wait=0.1" for n in range(5)]
    options = dict(timeout_s=0.4, first_byte_timeout_s=0.3, connect_timeout_s=0.3, attempts=1, per_host=3)
    with Fetcher(allow_hosts=LOOPBACK, **options) as fetcher:
        for _, response in fetcher.fetch(urls):
            time.sleep(0.5)
            assert response.reason == ""


def test_a_deadline_holds_for_all_redirects_together(server):
    urls = [f"{server.url}/redirect?to=/redirect%3Fto%3D/drip", f"{server.url}/silent"]
    started = time.monotonic()
    assert reasons(urls, timeout_s=0.5, attempts=1) == ["timeout", "timeout"]
    assert time.monotonic() - started < 1.5


def test_a_host_that_takes_no_connection_is_a_timeout():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        (response,) = fetch([url], connect_timeout_s=0.3, first_byte_timeout_s=0.5, attempts=1)
        for filler in fillers:
            filler.close()
    assert response.reason == "timeout"


# Addresses


@pytest.mark.parametrize(
    "host", "127.0.0.1 localhost a.localhost 127.1 0x7f.1 2130706433 0177.0.0.1 [::1] [::ffff:7f00:1] 0.0.0.0".split()
)
def test_loopback_is_refused_by_whatever_name(server, host):
    (response,) = fetch([f"http://{host}:{server.port}/ok/a"], allow_hosts=())
    assert response.reason == "blocked_address" and "allow_hosts" in response.error
    assert server.connections == 0
    assert any(address in response.error for address in ("127.0.0.1", "::1", "::ffff:7f00:1", "0.0.0.0"))


def test_private_networks_are_refused_at_once():
    for response in fetch(["http://10.0.0.1/", "http://169.254.169.254/", "http://[fd00:ec2::254]/"], allow_hosts=()):
        assert (response.reason, response.attempts) == ("blocked_address", 0)


def test_a_name_can_be_allowed_and_its_address_too(server):
    url = f"http://localhost:{server.port}/ok/a"
    assert reasons([url], allow_hosts=["localhost"]) == [""]
    assert reasons([url], allow_hosts=["127.0.0.0/8"]) == [""]
    assert reasons([url], allow_hosts=["127.0.0.2", "10.0.0.0/8", "host"]) == ["blocked_address"]


def test_a_redirect_to_another_private_host_is_refused(server):
    with HostileServer(address="127.0.0.2") as secret:
        url = f"{server.url}/redirect?to={secret.url}/ok/a"
        assert reasons([url]) == ["blocked_address"] and secret.connections == 0
        assert reasons([url], allow_hosts=["127.0.0.1", "127.0.0.2"]) == [""]


def test_ipv6():
    try:
        with HostileServer(address="::1") as server:
            assert reasons([f"{server.url}/ok/a"], allow_hosts=["::1"]) == [""]
    except OSError:
        pytest.skip("no IPv6 loopback here")


def test_a_closed_port_and_an_unknown_name():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert reasons([closed, "http://no-such-host.invalid/"], attempts=1) == ["refused", "dns"]


# TLS, proxies, authorization


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    path = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", path)
    return path


def test_https_needs_a_certificate_that_is_trusted_here(certificate, monkeypatch):
    with HostileServer(certificate) as server:
        assert fetch([f"{server.url}/ok/a"])[0].body == picture("a")
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        (response,) = fetch([f"{server.url}/ok/a"])
        assert (response.reason, response.attempts) == ("tls", 1) and "SSL_CERT_FILE" in response.error
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        assert reasons([f"{server.url}/ok/a"]) == [""]


def test_a_certificate_is_for_its_own_host_only(certificate):
    with HostileServer(certificate) as server:
        assert reasons([f"https://localhost:{server.port}/ok/a"], allow_hosts=["localhost"]) == ["tls"]


def test_https_to_a_server_that_speaks_http(server):
    assert reasons([server.url.replace("http:", "https:") + "/ok/a"]) == ["tls"]


def test_a_ca_bundle_that_is_missing_is_said_at_once(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/bundle.pem")
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        Fetcher()


@pytest.fixture
def proxy(server, monkeypatch):
    """A proxy that alone knows pictures.test."""
    server.proxy_names["pictures.test"] = ("127.0.0.1", server.port)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://user:hidden@127.0.0.1:{server.port}")
    monkeypatch.setenv("NO_PROXY", "direct.test")
    return server


def test_a_proxy_from_the_environment_is_used(proxy):
    (response,) = fetch(["http://pictures.test/ok/a"], allow_hosts=())
    assert response.body == picture("a")
    assert proxy.seen[0][0] == "http://pictures.test/ok/a" and "Proxy-Authorization" in proxy.seen[0][1]


def test_https_goes_through_the_proxys_tunnel(proxy, tmp_path, monkeypatch):
    pem = make_certificate(tmp_path / "pictures.pem", "pictures.test")
    monkeypatch.setenv("SSL_CERT_FILE", pem)
    monkeypatch.setenv("TOKEN", "Bearer t0ken")
    with HostileServer(pem) as target:
        proxy.proxy_names["pictures.test"] = ("127.0.0.1", target.port)
        urls = ["https://pictures.test/ok/a", "https://pictures.test/status/404", "https://pictures.test/ok/b"]
        first, missing, last = fetch(urls, allow_hosts=(), authorization_env="TOKEN", per_host=1)
        assert first.body == picture("a") and missing.reason == "http_404" and last.body == picture("b")
        assert target.seen[0][1]["Authorization"] == "Bearer t0ken"
    assert proxy.seen[0][0] == "pictures.test:443" and "Authorization" not in proxy.seen[0][1]


@pytest.mark.parametrize("status", [403, 407])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_no_fault_of_the_host(proxy, scheme, status):
    proxy.proxy_says = status
    (response,) = fetch([f"{scheme}://pictures.test/ok/a"])
    assert response.reason == ("http_403" if (scheme, status) == ("http", 403) else "proxy")
    assert response.attempts == 1 and "hidden" not in response.error


def test_a_proxy_that_is_not_there(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://user:hidden@127.0.0.1:1")
    (response,) = fetch(["http://pictures.test/ok/a"])
    assert response.reason == "proxy" and "hidden" not in response.error


def test_private_hosts_are_refused_behind_a_proxy_too(proxy):
    hosts = ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "0x7f.1", "[::ffff:10.0.0.1]"]
    urls = [f"http://{host}:{proxy.port}/ok/a" for host in hosts]
    assert reasons(urls, allow_hosts=()) == ["blocked_address"] * 6 and proxy.connections == 0
    redirects = [f"http://pictures.test/redirect?to=http://{host}/ok/a" for host in hosts]
    assert reasons(redirects, allow_hosts=()) == ["blocked_address"] * 6


def test_a_private_name_is_refused_behind_a_proxy_too(proxy):
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        pytest.skip("this machine does not know its own name")
    assert reasons([f"http://{name}/ok/a"], allow_hosts=()) == ["blocked_address"]
    assert proxy.connections == 0
    assert reasons([f"http://{name}/ok/a"], allow_hosts=[name]) == ["http_403"]  # the proxy's own word


def test_no_proxy_is_obeyed(proxy):
    assert reasons(["http://direct.test/"], attempts=1) == ["dns"]
    assert proxy.connections == 0


def test_authorization_goes_to_the_urls_own_host_only(server, monkeypatch):
    monkeypatch.setenv("PICTURES_AUTH", "Bearer t0ken")
    with HostileServer() as other:
        paths = ["/echo/1", "/redirect?to=/echo/2", f"/redirect?to={other.url}/echo/3"]
        answers = fetch([server.url + path for path in paths], authorization_env="PICTURES_AUTH")
    sent = [json.loads(r.body)["headers"].get("Authorization") for r in answers]
    assert sent == ["Bearer t0ken", "Bearer t0ken", None]


@pytest.mark.parametrize("name", ["NO_SUCH_VARIABLE_HERE", "Bearer t0ken", ""])
def test_a_missing_authorization_is_said_at_once_and_not_shown(name):
    with pytest.raises(ValueError, match="authorization_env") as caught:
        Fetcher(authorization_env=name)
    assert "t0ken" not in str(caught.value)


def test_no_secret_of_a_url_comes_back(server):
    url = server.url.replace("//", "//user:hidden1@") + "/{}?X-Amz-Signature=hidden2&w=1"
    paths = ["status/404", "ok/a", "redirect?to=//user:hidden1@127.0.0.1:1/?sig=hidden2&z=", "loop", "announced/99"]
    answers = fetch([url.format(path) for path in paths], attempts=1, max_bytes=90)
    assert "hidden" not in repr(answers)
    assert server.seen[0][1]["Authorization"].startswith("Basic ")


# Politeness


def test_a_host_is_asked_per_host_requests_at_once_and_keeps_its_connections(server):
    urls = [f"{server.url}/ok/{n}?wait=0.02" for n in range(24)]
    assert reasons(urls, per_host=3) == [""] * 24
    assert server.most_at_once == 3 and server.connections == 3


def test_a_share_of_per_host_is_at_least_one(server):
    urls = [f"{server.url}/ok/{n}?wait=0.02" for n in range(8)]
    reasons(urls, per_host=8, share=0.25)
    assert server.most_at_once == 2
    with Fetcher(per_host=8, share=0.01) as fetcher:
        assert fetcher.options.at_once == 1


def test_connections_outlive_a_fetch(server):
    with Fetcher(allow_hosts=LOOPBACK, per_host=1) as fetcher:
        for _ in range(3):
            assert [r.reason for _, r in fetcher.fetch([f"{server.url}/ok/a"] * 3)] == [""] * 3
    assert server.connections == 1


def test_retry_after_pauses_the_host_and_fails_no_row(server):
    with HostileServer() as other:
        urls = [f"{server.url}/patience/1?Retry-After=1"] * 3 + [f"{other.url}/ok/{n}" for n in range(6)]
        with Fetcher(allow_hosts=LOOPBACK, attempts=1, per_host=1) as fetcher:
            answers = list(fetcher.fetch(urls))
        assert [r.reason for _, r in answers] == [""] * 9
        assert [i for i, _ in answers][:6] == [3, 4, 5, 6, 7, 8]  # the other host did not wait
        assert sum(server.early.values()) == 0


def test_a_host_that_asks_for_an_hour_is_left_alone(server):
    urls = [f"{server.url}/flaky/429/999/{n}?Retry-After=3600" for n in range(50)]
    started = time.monotonic()
    assert set(reasons(urls, per_host=4)) == {"http_429", "host_unavailable"}
    assert sum(server.asked.values()) == 4 and time.monotonic() - started < 2


def test_a_host_that_always_refuses_is_left_alone(server):
    urls = [f"{server.url}/flaky/429/999/{n}?Retry-After=0" for n in range(200)]
    started = time.monotonic()
    found = reasons(urls)
    assert found.count("host_unavailable") > 180 and set(found) == {"http_429", "host_unavailable"}
    assert sum(server.asked.values()) < 20 and time.monotonic() - started < 5


def test_a_dead_host_is_left_alone_and_the_others_go_on(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        found = reasons([dead] * 100 + [f"{server.url}/ok/{n}" for n in range(20)])
    assert found[100:] == [""] * 20
    assert found[:100].count("host_unavailable") > 80 and set(found[:100]) == {"refused", "host_unavailable"}


POLITE = """
import sys, json
from imgprep.io.web.fetch import Fetcher
url, count, share = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with Fetcher(allow_hosts=["127.0.0.1"], share=share) as fetcher:
    print(json.dumps([r.reason for _, r in fetcher.fetch([f"{url}/polite/{n}" for n in range(count)])]))
"""


@pytest.mark.slow
def test_a_host_with_limits_gives_all_its_pictures():
    """8 at once, 50 a second: 400 of 400, few refusals, under 15 s; with one worker or two, told to wait or not."""
    cases = list(itertools.product((1, 2), ({}, {"Retry-After": "1"})))
    servers = [HostileServer().__enter__() for _ in cases]
    workers = []
    for server, (count, headers) in zip(servers, cases, strict=True):
        server.polite_headers = headers
        command = [sys.executable, "-c", POLITE, server.url, str(400 // count), str(1 / count)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        workers += [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(count)]
    found = [reason for worker in workers for reason in json.loads(worker.communicate(timeout=60)[0])]
    for server in servers:
        server.__exit__()
    assert found == [""] * 1600
    for server in servers:
        assert server.answers[200] == 400 and server.answers[429] / sum(server.answers.values()) < 0.05
        assert server.polite_from_to[1] - server.polite_from_to[0] < 15


# Owners' wishes


def test_an_opt_out_is_honoured_recorded_and_never_asked_again(server):
    urls = [f"{server.url}/ok/a?X-Robots-Tag={tag}" for tag in ("noai", "imgprep:+noai", "otherbot:+noai")]
    mine, named, others = fetch(urls)
    assert (mine.reason, mine.body, mine.opt_out) == ("opted_out", None, "X-Robots-Tag: noai")
    assert named.reason == "opted_out" and "imgprep: noai" in named.opt_out
    assert others.reason == "" and others.opt_out == ""
    assert max(server.asked.values()) == 1
    assert fetch(urls[:1], opt_out=False)[0].opt_out == "X-Robots-Tag: noai"
    assert reasons(urls[1:2], user_agent="otherbot/2.0") == [""]


def test_tdm_reservation_is_an_option(server):
    url = f"{server.url}/ok/a?tdm-reservation=1"
    (response,) = fetch([url])
    assert response.reason == "" and response.opt_out == "TDM-Reservation: 1"
    assert reasons([url], tdm_reservation=True) == ["opted_out"]


def test_robots_txt_is_read_once_per_host(server):
    server.robots = (200, "User-agent: imgprep\nDisallow: /private/")
    urls = [f"{server.url}/{where}/{n}" for n in range(5) for where in ("private", "ok")]
    assert reasons(urls, robots_txt=True) == ["robots", ""] * 5
    assert server.asked["/robots.txt"] == 1 and not any("private" in path for path in server.asked)
    assert reasons(urls[:2]) == ["", ""]  # only on request


def test_without_a_robots_txt_all_is_allowed_and_with_a_broken_one_nothing(server, quick):
    assert reasons([f"{server.url}/ok/a"], robots_txt=True) == [""]
    server.robots = (500, "")
    assert reasons([f"{server.url}/ok/a"] * 3, robots_txt=True) == ["robots"] * 3


# Resources


def test_bodies_under_way_hold_a_bounded_number_of_bytes(server, monkeypatch):
    monkeypatch.setattr(room, "HELD_BYTES", 100_000)
    most = 0
    with Fetcher(allow_hosts=LOOPBACK, max_bytes=400_000) as fetcher:
        urls = [f"{server.url}/{kind}/{n}" for n in range(10) for kind in ("ok", "endless", "chunked")]
        for index, response in fetcher.fetch(urls):
            most = max(most, fetcher.room.held_bytes)
            if index % 3 != 1:
                assert response.body == picture(str(index // 3))
            else:
                assert response.reason == "too_large"
        assert fetcher.room.held_bytes == 0
    assert most <= 100_000 + 400_000


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc here")
def test_no_file_is_left_open(server):
    before = open_files()
    fetcher = Fetcher(allow_hosts=LOOPBACK, first_byte_timeout_s=0.3, attempts=1)
    ways = ["ok/a", "reset", "silent", "status/404", "redirect?to=http://10.0.0.1/", "hang-up", "endless"]
    for _ in range(3):
        list(fetcher.fetch([f"{server.url}/{path}" for path in ways]))
        answers = fetcher.fetch([f"{server.url}/{path}" for path in ("ok/a", "drip", "silent", "trickle")])
        next(answers)
        answers.close()
        assert open_files() - before < 40
    fetcher.close()
    fetcher.close()
    server.closing = True
    deadline = time.monotonic() + 5  # the server's own ends close when it has noticed
    while open_files() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_files() <= before
    with pytest.raises(RuntimeError, match="closed"):
        next(fetcher.fetch([]))


def test_a_fetch_that_was_given_up_harms_no_later_one(server):
    with Fetcher(allow_hosts=LOOPBACK, robots_txt=True) as fetcher:
        for _ in range(3):
            answers = fetcher.fetch([f"{server.url}/ok/a", f"{server.url}/drip", f"{server.url}/ok/b"])
            next(answers)
            with pytest.raises(RuntimeError, match="busy"):
                next(fetcher.fetch([f"{server.url}/ok/c"]))
            answers.close()
        assert [r.body for _, r in fetcher.fetch([f"{server.url}/ok/d"])] == [picture("d")]


def test_it_works_in_another_thread(server):
    found = []
    thread = threading.Thread(target=lambda: found.extend(reasons([f"{server.url}/ok/{n}" for n in range(20)])))
    thread.start()
    thread.join(10)
    assert found == [""] * 20


INTERRUPTED = """
import sys
from imgprep.io.web.fetch import Fetcher
fetcher = Fetcher(allow_hosts=["127.0.0.1"])
try:
    paths = ["/ok/a" if n % 100 else "/drip" for n in range(10**5)]
    for n, _ in enumerate(fetcher.fetch([sys.argv[1] + path for path in paths])):
        if n == 50:
            print("under way", flush=True)
except KeyboardInterrupt:
    fetcher.close()
    print("interrupted", flush=True)
"""


def test_an_interrupt_comes_through_at_once(server):
    command = [sys.executable, "-c", INTERRUPTED, server.url]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout.readline() == "under way\n"
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - started < 2


# Options


@pytest.mark.parametrize(
    "option",
    [
        {"attempts": 0}, {"attempts": 2.5}, {"attempts": True}, {"per_host": 0}, {"in_flight": "8"}, {"timeout_s": 0},
        {"timeout_s": float("inf")}, {"timeout_s": None}, {"max_bytes": -1}, {"max_redirects": -1}, {"share": -1},
        {"user_agent": ""}, {"user_agent": "a\r\nX: y"}, {"allow_hosts": "127.0.0.1"}, {"allow_hosts": ["http://a/"]},
        {"opt_out": "no"}, {"min_bytes_per_s": -1}, {"robots_txt": 1},
    ],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Fetcher(**option)
