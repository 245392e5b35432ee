"""Which engine `auto` takes; what happens where Ray does not start; and what a wrong address is told."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import imgprep
from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.engine import Job, RayMissing, Summary, Task, cluster
from imgprep.engine import run as _run  # noqa: F401 - the module below
from imgprep.engine.cluster import check_cluster

run = sys.modules["imgprep.engine.run"]


@pytest.fixture(autouse=True)
def fresh():
    imgprep.close()
    yield
    imgprep.close()


def job(folder, **more):
    def done(task):
        return Summary(rows=len(task.payload))

    return Job(done, lambda t: [t], done, Folder(str(folder)), "r", **more)


# Which engine ---------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """Where Ray would be started, this notes it, and nothing is."""
    calls = []
    monkeypatch.setattr(run, "start_ray", lambda: calls.append("start"))
    monkeypatch.setattr(run, "foresee_ray", lambda: calls.append("foresee"))
    return calls


def rows(count):
    return [Task("a", [None] * count)]


@pytest.mark.parametrize(
    ("wanted", "count", "more", "used"),
    [
        ("auto", 1_000, {}, "local"),
        ("auto", 1_000_000, {}, "ray"),
        ("auto", 1_000, {"once": True}, "local"),
        ("auto", 20_000, {"once": True}, "ray"),
        ("auto", 1_000_000, {"threads": True}, "local"),
        ("local", 1_000_000, {}, "local"),
        ("ray", 1, {}, "ray"),
    ],
)
def test_auto_takes_ray_where_the_work_is_worth_its_start(tmp_path, started, capsys, wanted, count, more, used):
    imgprep.session(wanted, 2)
    engine.start(rows(count), job(tmp_path, **more))
    assert started == (["start"] if used == "ray" else []) and engine.name() == used
    said = capsys.readouterr().out
    assert said.endswith("of work: on Ray\n") if (wanted, used) == ("auto", "ray") else said == ""


def test_a_cluster_that_is_named_is_taken_for_any_work(tmp_path, started, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    imgprep.session("auto", 2)
    assert engine.name() == "ray"
    engine.start(rows(1), job(tmp_path))
    assert started == ["start"]
    imgprep.session("local", 2)
    assert engine.name() == "local"


def test_ray_is_begun_while_the_work_is_planned(started):
    imgprep.session("auto", 2)
    engine.foresee(100)
    imgprep.session("ray", 2)
    engine.foresee(0)
    assert started == []
    engine.foresee(1)
    assert started == ["foresee"]


def test_without_other_processes_there_is_no_ray(tmp_path, started):
    imgprep.session("ray", 0)
    engine.foresee(9)
    engine.start(rows(9), job(tmp_path))
    assert started == [] and engine.name() == "inline"


@pytest.mark.parametrize("how", ["auto", "ray"])
def test_where_ray_does_not_start_processes_do_the_work_and_that_is_said_once(tmp_path, monkeypatch, capsys, how):
    def fails(self):
        raise Exception("The current node timed out during startup.\nThis could happen because")

    monkeypatch.setattr(cluster._Keeper, "_start_ray", fails)
    monkeypatch.setattr(run, "WORTH_S", 0)
    imgprep.session(how, 1)
    for _ in range(2):
        done = list(engine.run(rows(3), job(tmp_path)))
        assert [summary.rows for _, summary in done] == [3] and engine.name() == "local"
    said = capsys.readouterr().out
    why = "Ray did not start (The current node timed out during startup.): processes of this machine do the work\n"
    assert said.endswith(why) and said.count(why) == 1


def test_what_stays_away_too_long_is_given_up(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(cluster._Keeper, "_start_ray", lambda self: never.wait())
    monkeypatch.setattr(cluster, "START_S", 0.1)
    with pytest.raises(RayMissing, match="it was not up after 0.1 s"):
        engine.start_ray()
    never.set()


# A wrong address ------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("address", ["bananas", "127.0.0.1", "ray://127.0.0.1:10001", "auto"])
def test_an_address_without_a_port_is_told(address):
    with pytest.raises(ValueError, match=f"^RAY_ADDRESS={address}: give host:port of the cluster's head, such as "):
        check_cluster(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_where_nobody_listens_it_is_told(host):
    with pytest.raises(ValueError, match=f"^RAY_ADDRESS={host}:[0-9]+: nothing answers there .*unset RAY_ADDRESS$"):
        check_cluster(f"{host}:{free_port()}")


def test_a_server_that_is_no_ray_is_told():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match="^RAY_ADDRESS=127.0.0.1:[0-9]+: what listens there "):
            check_cluster(f"127.0.0.1:{other.server_port}")
        other.shutdown()


def test_a_server_that_never_answers_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(ValueError, match="what listens there does not answer as Ray does"):
            check_cluster(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_stage_ends_with_that_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match="nothing answers there"):
        list(engine.run(rows(1), job(tmp_path)))


HEAD = """
import ray
for last in (False, True):
    try:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        break
    except Exception:  # a busy machine misses Ray's 30 s
        if last:
            raise
        ray.shutdown()
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
ASK = "import sys; from imgprep.engine.cluster import check_cluster; check_cluster(sys.argv[1])"


@pytest.mark.ray
@pytest.mark.slow
def test_a_wrong_token_is_told_and_the_right_one_passes():
    right, wrong = ({**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": c * 32} for c in "ab")
    command = [sys.executable, "-c", HEAD]
    head = subprocess.Popen(command, env=right, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    address = head.stdout.readline().strip()
    fix = "does not take our token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
    for environment, says in ((right, ""), (wrong, fix)):
        asked = subprocess.run([sys.executable, "-c", ASK, address], env=environment, capture_output=True, text=True)
        assert (says in asked.stderr) if says else asked.returncode == 0
        assert asked.stderr.count("Unauthenticated") == 0, "what Ray's C++ side says is not shown"
    head.communicate("")
