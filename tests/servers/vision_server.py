"""A fake of OpenAI's chat completions for tests: its answer is worked out from the pixels it was sent.

So a test proves that the right picture arrived, and that the right row got its answer. It wants a key, keeps limits of
requests and tokens in a sliding window, and knows the misfortunes that happen.
"""

import base64
import hashlib
import io
import json
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

KEY = "test-key-that-nobody-may-find"
MOODS = ["calm", "joyful", "tense", "mysterious", "neutral"]
FAULTS = ("500", "length", "filter", "refusal", "prose", "vocabulary", "drop")


def mood_of(data: bytes) -> str:
    """The mood of a picture: how bright it is."""
    grey = Image.open(io.BytesIO(data)).convert("L").resize((8, 8))
    return MOODS[min(4, int(sum(grey.tobytes()) / 64 / 52))]


def _picture_of(url: str) -> bytes:
    """Of a data URL; or what the link leads to, read as services read it: without any key."""
    if not url.startswith("http"):
        return base64.b64decode(url.split(",", 1)[1])
    with urllib.request.urlopen(url, timeout=10) as link:
        return link.read()


class VisionServer:
    """`with VisionServer(rpm=240) as url:`; `log` has the time of each request that was let in."""

    def __init__(
        self,
        *,
        rpm: float = 1e9,
        tpm: float = 1e9,
        window_s: float = 60,
        delay_s: float = 0.02,
        faults: tuple[str, ...] = (),
        always: str = "",
    ):
        self.rpm, self.tpm, self.window_s, self.delay_s = rpm, tpm, window_s, delay_s
        self.faults, self.always = faults, always
        self.log: list[tuple[float, float]] = []
        self.refused = self.asked = 0
        self.usage = [0, 0]
        self.bodies: list[dict] = []
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> str:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                code, answer, headers = fake.handle(self.path, dict(self.headers), body)
                if code == 0:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                data = json.dumps(answer).encode()
                self.send_response(code)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, str(value))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, dict, dict]:
        self.asked += 1
        if headers.get("Authorization") != f"Bearer {KEY}":
            said = f"Incorrect API key provided: {headers.get('Authorization', '')[7:]}"
            return 401, {"error": {"message": said, "code": "invalid_api_key"}}, {}
        if not path.endswith("/chat/completions"):
            return 404, {"error": {"message": "no such path"}}, {}
        body = json.loads(raw)
        if wait := self._limited(body):
            limit = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
            return 429, limit, {"retry-after": max(1, round(wait)), "retry-after-ms": round(wait * 1000)}
        if self.always == "quota":
            return 429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, {}
        time.sleep(self.delay_s)
        return self._answer(body)

    def _limited(self, body: dict) -> float:
        """Seconds to wait, where the limits are reached."""
        now, tokens = time.monotonic(), self._tokens(body)
        with self._lock:
            recent = [(at, n) for at, n in self.log if at > now - self.window_s]
            if len(recent) + 1 > self.rpm or sum(n for _, n in recent) + tokens > self.tpm:
                self.refused += 1
                return self.window_s - (now - recent[0][0]) if recent else 1
            self.log.append((now, tokens))
            return 0

    def _tokens(self, body: dict) -> float:
        """As services count before they answer: text by four characters, 255 a picture, and all of max_tokens."""
        return 255 + len(body["messages"][0]["content"]) // 4 + body.get("max_tokens", 200)

    def _answer(self, body: dict) -> tuple[int, dict, dict]:
        url = body["messages"][1]["content"][0]["image_url"]["url"]
        try:
            picture = _picture_of(url)
        except OSError as e:  # HTTP's refusals are OSErrors too
            said = f"Failed to download image from {url}: {e}"
            return 400, {"error": {"message": said, "code": "invalid_image_url"}}, {}
        content = json.dumps({"mood": [mood_of(picture)]})
        fault = self._fault(url)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        finish = "stop"
        if fault == "500":
            return 500, {"error": {"message": "The server had an error"}}, {}
        if fault == "drop":
            return 0, {}, {}
        if fault == "length":
            message["content"], finish = content[:9], "length"
        if fault == "filter":
            message["content"], finish = None, "content_filter"
        if fault == "refusal":
            message |= {"content": None, "refusal": "I'm sorry, I can't assist with that."}
        if fault == "prose":
            message["content"] = "Sure! The mood is calm."
        if fault == "vocabulary":
            message["content"] = json.dumps({"mood": ["<b>ethereal</b>", "ruhig"]})
        if fault == "mixed":
            message["content"] = json.dumps({"mood": ["Calm", "ethereal", "calm"]})
        with self._lock:
            self.usage[0] += 345
            self.usage[1] += 12
            self.bodies.append(body)
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        usage = {"prompt_tokens": 345, "completion_tokens": 12, "total_tokens": 357}
        return 200, {"id": "chatcmpl-1", "model": body["model"], "choices": choices, "usage": usage}, {}

    def _fault(self, url: str) -> str:
        """Each seventh picture, the first time it is asked about."""
        if self.always:
            return self.always
        with self._lock:
            key = hashlib.sha256(url.encode()).hexdigest()
            times = self._seen[key] = self._seen.get(key, 0) + 1
            number = len(self._seen)
        if self.faults and times == 1 and number % 7 == 0:
            return self.faults[number // 7 % len(self.faults)]
        return ""
