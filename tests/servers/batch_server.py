"""A batch API of OpenAI's shape on loopback: files, batches, and what goes wrong with them.

An answer says how bright the picture is that it was sent, so a test sees that the right row got it. Output comes back
in another order than it was asked in.
"""

import base64
import io
import json
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

KEY = "sk-loopback-key-that-nobody-may-find"


def brightness(data: bytes) -> int:
    """What the answers are: the mean of a picture's pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return round(float(np.asarray(image.convert("L")).mean()))


class BatchServer:
    """with BatchServer() as server: server.url, server.files, server.batches.

    looks: how often a batch is asked for before it is over. faults: custom_id -> what happens to it, once: "filter",
    "refusal", "cut", "prose", "error", "lost". replies: (method, path) -> statuses that come first, with the error
    code; 0 closes the connection when the work is done.
    """

    def __init__(self, looks: int = 1):
        self.looks = looks
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.faults: dict[str, str] = {}
        self.replies: dict[tuple[str, str], list] = {}
        self.status = "completed"
        self.refusal = ""
        self.asked: Counter = Counter()

    def __enter__(self) -> "BatchServer":
        fake = self

        class Handler(_Handler):
            server_of = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_file(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    def create(self, asked: dict) -> dict:
        name = f"batch_{len(self.batches)}"
        batch = {"id": name, "status": "validating", "looks": 0, "metadata": asked.get("metadata")}
        self.batches[name] = batch | {"input_file_id": asked["input_file_id"]}
        return self.batches[name]

    def look(self, name: str) -> dict:
        batch = self.batches[name]
        batch["looks"] += 1
        if self.refusal:
            batch |= {"status": "failed", "errors": {"data": [{"message": self.refusal}]}}
            return batch
        if batch["looks"] <= self.looks:
            batch["status"] = "in_progress"
        elif batch["status"] != self.status:
            self._finish(batch)
        return batch

    def _finish(self, batch: dict) -> None:
        output, errors = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            request = json.loads(line)
            name = request["custom_id"]
            fault = self.faults.pop(name, "")
            if fault == "lost":
                continue
            if fault == "error":
                error = {"error": {"code": "server_error", "message": "it broke"}}
                errors.append({"custom_id": name, "response": {"status_code": 500, "body": error}})
                continue
            body = self._answer(request["body"], fault)
            output.append({"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None})
        batch["status"] = self.status
        batch["output_file_id"] = self.add_file(_lines(reversed(output)))
        if errors:
            batch["error_file_id"] = self.add_file(_lines(errors))

    def _answer(self, body: dict, fault: str) -> dict:
        url = body["messages"][0]["content"][1]["image_url"]["url"]
        bright = brightness(base64.b64decode(url.partition(",")[2]))
        text = json.dumps({"brightness": bright}) if "response_format" in body else str(bright)
        message, finish = {"role": "assistant", "content": text, "refusal": None}, "stop"
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if fault == "filter":
            message["content"], finish = None, "content_filter"
        if fault == "cut":
            message["content"], finish = text[:3], "length"
        if fault == "prose":
            message["content"] = f"It is {bright}."
        usage = {"prompt_tokens": 100, "completion_tokens": 5}
        return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


def _lines(found) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in found)


class _Handler(BaseHTTPRequestHandler):
    server_of: BatchServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self._do("POST", path, body)

    def do_GET(self) -> None:
        self._do("GET", urlsplit(self.path).path, b"")

    def _do(self, method: str, path: str, body: bytes) -> None:
        fake = self.server_of
        fake.asked[method, path] += 1
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self._reply(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
        first = fake.replies.get((method, path))
        status, code = first.pop(0) if first else (200, "")
        if status not in (0, 200):
            return self._reply(status, {"error": {"code": code, "message": f"no: {code}, {KEY}"}})
        found = self._found(method, path, body)
        if status == 0:  # it is done, and the answer is lost
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        self._reply(*found)

    def _found(self, method: str, path: str, body: bytes) -> tuple:
        fake = self.server_of
        where = path.removeprefix("/v1/").split("/")
        if (method, *where) == ("POST", "files"):
            start = body.index(b"\r\n\r\n", body.index(b"filename=")) + 4
            return 200, {"id": fake.add_file(body[start : body.rindex(b"\r\n--")])}
        if (method, *where) == ("POST", "batches"):
            return 200, fake.create(json.loads(body))
        if (method, *where) == ("GET", "batches"):
            after = parse_qs(urlsplit(self.path).query).get("after", [""])[0]
            names = list(fake.batches)[::-1]
            names = names[names.index(after) + 1 :] if after else names
            return 200, {"data": [fake.batches[n] for n in names[:2]], "has_more": len(names) > 2}
        if where[0] == "batches" and where[1] in fake.batches:
            return 200, fake.look(where[1])
        if where[0] == "files" and where[-1] == "content":
            return 200, fake.files[where[1]]
        return 404, {"error": {"message": "not found"}}

    def _reply(self, status: int, answer: dict | bytes) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
