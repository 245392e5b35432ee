"""A loopback HTTP(S) server that misbehaves on request, a host with limits, a forward proxy. Paths say what comes."""

import gzip
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ZEROS = 32 * 2**20  # what the bombs decompress to
BROTLI_ZEROS = bytes.fromhex(  # made once by Node's zlib.brotliCompressSync(Buffer.alloc(32 << 20))
    "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfbbffcffffc33f0110870500baf77f"
)


def picture(name: str) -> bytes:
    """The body of /ok/NAME: 50 KB, different for each name."""
    return (name.encode() * 50_000)[:50_000]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        server = self.server
        with server.lock:
            server.open_now += 1
            server.most_at_once = max(server.most_at_once, server.open_now)
            server.asked[self.path] += 1
            server.seen.append((self.path, dict(self.headers)))
            self.count = server.asked[self.path]
        try:
            if self.path.startswith("http://") and not self.forwards():
                return
            parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
            self.query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            getattr(self, parts[0].replace("-", "_").replace(".", "_"), self.nothing)(*parts[1:])
        finally:
            with server.lock:
                server.open_now -= 1

    def do_CONNECT(self):
        """The server as a proxy: names are found in `proxy_names`, all else is refused."""
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers)))
        target = self.server.proxy_names.get(self.path.rpartition(":")[0])
        if self.server.proxy_says or not target:
            return self.answer(self.server.proxy_says or 403)
        with socket.create_connection(target) as other:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=_pump, args=(other, self.connection), daemon=True).start()
            _pump(self.connection, other)
        self.close_connection = True

    def forwards(self) -> bool:
        """Whether this proxy knows the host; it then answers itself what that would."""
        url = urlsplit(self.path)
        known = url.hostname in self.server.proxy_names and not self.server.proxy_says
        if not known:
            self.answer(self.server.proxy_says or 403)
        self.path = url._replace(scheme="", netloc="").geturl()
        return known

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers = {"Content_Length": str(len(body))} | headers
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self, **headers):
        self.close_connection = True
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_):
        pass

    # What a path does

    def nothing(self, *_):
        self.answer(404, b"no such thing")

    def ok(self, name):
        etag = f'"{name}"'
        if self.headers["If-None-Match"] == etag:
            return self.answer(304, ETag=etag, Content_Length=None)
        time.sleep(float(self.query.pop("wait", 0)))
        self.answer(200, picture(name), ETag=etag, **self.query)

    def echo(self, *_):
        self.answer(200, json.dumps({"path": self.path, "headers": dict(self.headers)}).encode())

    def status(self, code, *_):
        self.answer(int(code), b"" if code in ("204", "304") else b"an error page" * 100, **self.query)

    def flaky(self, code, times, name):
        """CODE so many times, then the picture."""
        if self.count <= int(times):
            return self.answer(int(code), **self.query)
        self.answer(200, picture(name))

    def patience(self, name):
        """Nobody may ask again before the second is over."""
        now = time.monotonic()
        with self.server.lock:
            until = self.server.patience.setdefault(name, now + 1)
            self.server.early[name] += 0 if now >= until or self.count == 1 else 1
        self.flaky(429, 1, name)

    def silent(self):
        while not self.server.closing:
            time.sleep(0.05)

    def drip(self, *_):
        self.begin()
        with suppress(OSError):
            while not self.server.closing:
                self.wfile.write(b"x")
                time.sleep(0.1)

    def trickle(self, *_):
        """Fast enough for any lowest speed, but without end."""
        self.begin()
        with suppress(OSError):
            while not self.server.closing:
                self.wfile.write(b"x" * 5000)
                time.sleep(0.1)

    def headers_without_end(self):
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.closing:
                self.wfile.write(b"X-More: x\r\n")
                time.sleep(0.1)

    def endless(self, *_):
        self.begin(Transfer_Encoding="chunked")
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        with suppress(OSError):
            while not self.server.closing:
                self.wfile.write(chunk)

    def announced(self, length):
        """A Content-Length, and nothing after it."""
        self.begin(Content_Length=length)
        with suppress(OSError):
            self.connection.recv(1)

    def encoded(self, coding, name):
        body = picture(name)
        bodies = {"deflate": zlib.compress(body), "padded": gzip.compress(body) + bytes(20)}
        bodies |= {"gzip": gzip.compress(body)}
        named = {"padded": "gzip", "not-gzip": "gzip"}.get(coding, coding)
        self.answer(200, bodies.get(coding, body), Content_Encoding=named)

    def empty_line(self):
        self.wfile.write(b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        self.close_connection = True

    def bomb(self, coding):
        bodies = {"br": lambda: BROTLI_ZEROS, "deflate": lambda: zlib.compress(bytes(ZEROS))}
        self.answer(200, bodies.get(coding, lambda: gzip.compress(bytes(ZEROS), 1))(), Content_Encoding=coding)

    def short(self, times="99", name="x"):
        if self.count > int(times):
            return self.answer(200, picture(name))
        self.begin(Content_Length="1000")
        self.wfile.write(b"x" * 10)

    def cut_chunks(self):
        self.begin(Transfer_Encoding="chunked")
        self.wfile.write(b"5\r\nabcde\r\n")

    def reset(self, times="99", name="x"):
        if self.count > int(times):
            return self.answer(200, picture(name))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def hang_up(self):
        self.close_connection = True

    def garbage(self):
        self.wfile.write(b"\x00\x01 no HTTP here\r\n\r\n")
        self.close_connection = True

    def redirect(self, *_):
        self.answer(int(self.query.get("code", 302)), Location=self.query["to"])

    def hops(self, count):
        self.answer(302, Location=f"/hops/{int(count) - 1}" if count != "1" else "/ok/end")

    def loop(self):
        self.answer(302, Location="/loop")

    def nowhere(self):
        self.answer(302)

    def chunked(self, name):
        body = picture(name)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body))

    def continued(self, name):
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        self.answer(200, picture(name))

    def robots_txt(self):
        status, text = self.server.robots
        self.answer(status, text.encode())

    def private(self, name):
        self.answer(200, picture(name))

    def polite(self, name):
        """8 at once and 50 in any second; whoever asks for more is answered 429."""
        server, now = self.server, time.monotonic()
        with server.lock:
            while server.recent and server.recent[0] <= now - 1:
                server.recent.popleft()
            fine = len(server.recent) < 50 and server.open_now <= 8
            server.answers[200 if fine else 429] += 1
            server.polite_from_to = (server.polite_from_to[0] or now, now)
            if fine:
                server.recent.append(now)
        if not fine:
            return self.answer(429, **server.polite_headers)
        time.sleep(0.01)
        self.answer(200, picture(name)[:5000])


class HostileServer(ThreadingHTTPServer):
    """`with HostileServer() as s:` serves on s.url until the end. certificate: a PEM file with key, for https."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, certificate: str | None = None, address: str = "127.0.0.1"):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), Handler)
        self.port = self.server_address[1]
        self.url = f"http{'s' if certificate else ''}://{f'[{address}]' if ':' in address else address}:{self.port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.open_now = self.most_at_once = self.connections = 0
        self.closing = False
        self.robots = (404, "")
        self.proxy_names: dict[str, tuple[str, int]] = {}
        self.proxy_says = 0
        self.patience: dict[str, float] = {}
        self.early: Counter[str] = Counter()
        self.recent: deque[float] = deque()
        self.answers: dict[int, int] = defaultdict(int)
        self.polite_headers: dict[str, str] = {}
        self.polite_from_to = (0.0, 0.0)

    def process_request(self, request, client_address):
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # clients that break off are what this server is for

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing = True
        self.shutdown()
        self.server_close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def make_certificate(path, name: str = "127.0.0.1") -> str:
    """Write a self-signed certificate with its key to a PEM file, for an address or a host name."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imgprep test")])
    is_address = name.replace(".", "").isdigit()
    names = [x509.IPAddress(ipaddress.ip_address(name)) if is_address else x509.DNSName(name)]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + secret)
    return str(path)
