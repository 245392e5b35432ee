"""The line that each request leaves."""

import asyncio
import json

import pytest

from imgprep.serve import metrics
from imgprep.serve.service import Settings


async def refuses(scope, receive, send):
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b'{"reason": "not_found"}'})


async def drop(message):
    pass


def line_of_a_request(path: str, **given) -> None:
    logged = metrics.Logged(refuses, metrics.Metrics(), **given)
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"signature=secret"}
    asyncio.run(logged(scope, None, drop))


def test_a_program_reads_json(capsys):
    line_of_a_request("/v1/objects/a")
    told = json.loads(capsys.readouterr().out)
    assert told["http.response.status_code"] == 404
    assert told["event.reason"] == "not_found"
    assert told["url.path"] == "/v1/objects/a"


def test_a_person_at_a_terminal_reads_a_short_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    line_of_a_request("/v1/objects/a")
    told = capsys.readouterr().out.split()
    assert told[1:4] == ["GET", "/v1/objects/a", "404"]
    assert told[5:] == ["ms", "not_found"]


def test_a_path_cannot_drive_the_terminal(capsys):
    line_of_a_request("/\x1b[2J\x9b31m\r\nfake", log="short")
    told = capsys.readouterr().out
    assert told.endswith(" ms not_found\n")
    assert told[:-1].isprintable()


@pytest.mark.parametrize("log", ["short", "json"])
def test_no_line_holds_the_query(capsys, log):
    line_of_a_request("/a", log=log)
    assert "secret" not in capsys.readouterr().out


def test_no_lines_where_none_are_wanted(capsys):
    line_of_a_request("/a", log="none")
    assert capsys.readouterr().out == ""


def test_an_unknown_kind_of_lines_is_refused():
    with pytest.raises(ValueError, match="auto, json, short, none, not 'xml'"):
        Settings(log="xml").check()
