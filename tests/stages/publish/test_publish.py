"""Publishing, to a Hub on loopback: in one step, once, with a sentence for whatever fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import deaths
import numpy as np
import pytest
from conftest import ROOT
from made import table, tree

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.stages import images
from imgprep.stages import publish as publishing

pytestmark = pytest.mark.store
PUBLISH = """
import json, sys
from imgprep import publish
from imgprep.io.hub import repo, sending
repo.PAUSE_S, sending.BATCH_BYTES, sending.FILES_OF_COMMIT = 0.01, 30_000, int(sys.argv[3])
for line in sys.stdin:  # of options, each time
    result = publish.publish(sys.argv[1], sys.argv[2], licence="cc0-1.0", **json.loads(line))
    print(json.dumps(vars(result)), flush=True)
"""
READ = """
import json, sys
sys.modules["imgprep"] = None  # as where it is not installed
from datasets import load_dataset
rows, streamed = load_dataset(sys.argv[1]), load_dataset(sys.argv[1], streaming=True)
metadata = load_dataset(sys.argv[1], "metadata")
first, other = (next(iter(d["train"])) for d in (rows, streamed))
assert rows["train"].features == streamed["train"].features
assert first.pop("image").tobytes() == other.pop("image").tobytes() and first == other
print(json.dumps([{s: rows[s]["image_id"][:] for s in rows}, {s: len(metadata[s]) for s in metadata}]))
"""


def many(root: Path, seed: int = 0) -> str:
    """A dataset folder of 24 noisy pictures of 10 KB, six to a file, and of one that is not there."""
    files = root / "in"
    files.mkdir(parents=True, exist_ok=True)
    for i in range(24):
        noise = np.random.default_rng(i + seed).integers(0, 256, (60, 60, 3), np.uint8)
        if not (files / f"{i:04d}.png").exists():
            (files / f"{i:04d}.png").write_bytes(codec.encode(noise))
    paths = [str(files / f"{i:04d}.png") for i in range(24)] + [str(files / "gone.png")]
    tables = {"train": table(paths[6:]), "test": table(paths[:6])}
    with imgprep.session("local", workers=0):
        images.transform(tables, str(root / "out"), lambda image: image, batch_size=6)
    return str(root / "out")


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> str:
    """One such folder, in which the checks that need no Hub were done."""
    out = many(tmp_path_factory.mktemp("checked"))
    publishing.publish(out, licence="cc0-1.0")
    return out


@pytest.fixture
def ready(checked, tmp_path) -> str:
    """A copy of it."""
    return shutil.copytree(checked, str(tmp_path / "out"))


def ask(client: subprocess.Popen, **options: object) -> dict:
    """Publish once more in this client."""
    client.stdin.write(json.dumps(options) + "\n")
    client.stdin.flush()
    while not (line := client.stdout.readline()).startswith("{"):
        assert line, client.stderr.read()
    return json.loads(line)


def test_what_is_published_is_loaded_by_anyone_sent_once_and_changed_in_part(hub, tmp_path):
    repo, out = "alice/round", many(tmp_path)
    hub.ask("reset")
    with hub.start(PUBLISH, out, repo, "100") as client:
        first = ask(client, tag="v1")
        requests, sent = hub.ask("stats")["requests"], hub.sent()
        assert "PUT lfs" not in requests and 24 * 10_000 < sent < 1.1 * first["nbytes"]
        assert first["loaded"] == "50 rows loaded back, streaming and not" and first["tag"] == "v1"
        assert hub.files(repo) == {*first["added"], ".gitattributes"}
        rows, metadata = json.loads(hub.run(READ, repo)[-1])
        ids = {split: dataset.open(out).table(split)["image_id"].to_pylist() for split in ("train", "test")}
        assert rows == {"train": ids["train"][:-1], "test": ids["test"]} and metadata == {"train": 19, "test": 6}

        hub.ask("reset")
        again = ask(client, tag="v1")
        assert again["commit"] == first["commit"] and again["added"] == again["removed"] == []
        assert hub.sent() == 0 and again["loaded"] == "nothing to send: it is there already"

        (tmp_path / "in" / "0020.png").unlink()
        many(tmp_path, seed=99)
        hub.ask("reset")
        new = ask(client)
        client.stdin.close()
    assert new["commit"] != first["commit"] and hub.sent() < 1.1 * new["nbytes"] < 0.8 * first["nbytes"]
    for word in ("added", "removed"):
        assert len([name for name in new[word] if name.startswith("data/")]) == 1
    assert hub.files(repo) == {*first["added"], *new["added"], ".gitattributes"} - {*new["removed"]}
    log = json.loads(sorted(Path(out, ".imgprep/runs").iterdir())[-1].read_text())
    assert log["commit"] == new["commit"] and log["url"].endswith(repo)


def kill(hub, out: str, repo: str, when: Callable[[], bool], *, few: int = 100, xet: bool = True) -> None:
    """Start to publish, and kill -9 as soon as `when()` holds; main has nothing then."""
    client = hub.start(PUBLISH, out, repo, str(few), xet=xet)
    client.stdin.write("{}\n")
    client.stdin.flush()
    for _ in range(600):
        if when() or client.poll() is not None:
            break
        time.sleep(0.05)
    assert client.poll() is None, client.communicate()
    os.kill(client.pid, signal.SIGKILL)
    client.communicate()
    assert hub.files(repo) == {".gitattributes"}


def test_killed_while_it_sends_or_commits_main_is_never_partial_and_nothing_goes_twice(hub, ready):
    repo, out = "alice/killed", ready
    hub.ask("reset")
    hub.ask("faults", method="PUT", path="/lfs/", skip=3, delay=60)
    kill(hub, out, repo, lambda: hub.ask("stats")["requests"].get("PUT lfs", 0) >= 4, xet=False)
    hub.ask("faults", method="POST", path="/commit/main", delay=60)
    kill(hub, out, repo, lambda: hub.ask("stats")["waiting"] > 1, xet=False)
    with hub.start(PUBLISH, out, repo, "100", xet=False) as client:
        result = ask(client)
        assert hub.files(repo) == {*result["added"], ".gitattributes"} and "rows loaded back" in result["loaded"]
        assert "PUT lfs" in hub.ask("stats")["requests"]
        assert hub.sent() < 1.3 * result["nbytes"], "only what was cut off was sent again"
        hub.ask("reset")
        assert ask(client)["commit"] == result["commit"] and hub.sent() == 0
        client.stdin.close()


def test_many_files_go_through_a_pull_request_with_which_a_killed_run_goes_on(hub, ready):
    repo, out = "alice/large", ready
    hub.ask("reset")
    hub.ask("faults", method="POST", path="/commit/refs", skip=2, delay=60)
    kill(hub, out, repo, lambda: hub.ask("stats")["waiting"], few=2)
    hub.ask("faults", method="POST", path="/merge", delay=60)
    kill(hub, out, repo, lambda: hub.ask("stats")["waiting"] > 1, few=2)
    result = json.loads(hub.run(PUBLISH, out, repo, "2", given="{}\n")[-1])
    assert hub.files(repo) == {*result["added"], ".gitattributes"} and "loaded back" in result["loaded"]
    assert hub.sent() < 1.1 * result["nbytes"]


DIES = """
import os, sys
from imgprep.dataset.files import Folder
from imgprep.io.hub import Repo
from imgprep.stages import publish
at, seen, put, send = sys.argv[3], [], Folder.put, Repo.send
def die(where):
    if where == at:
        os.kill(os.getpid(), 9)
def sends(self, *given, **named):
    head = send(self, *given, **named)
    die("sent")
    return head
def puts(self, name, data):
    die(f"before {name}")
    put(self, name, data)
    die(f"after {name}")
Repo.send, Folder.put = sends, puts
publish.publish(sys.argv[1], sys.argv[2], licence="cc0-1.0", tag="v1")
"""


def left(hub, out: str, repo: str) -> tuple[dict, set]:
    """What stands in the folder and in the repository, by content; a card names its repository."""
    stands = tree(out)
    for name in ("README.md", ".imgprep/publish/card.md"):
        stands[name] = Path(out, name).read_text().replace(repo, "REPO").replace(repo.split("/")[1].capitalize(), "R")
    return stands, hub.files(repo)


@pytest.mark.slow
def test_killed_after_it_was_sent_folder_and_repository_end_as_in_an_unbroken_run(hub, checked, tmp_path):
    wanted = None
    for n, at in enumerate(["", "sent", "after .imgprep/publish/card.md", "after README.md"]):
        out, repo = shutil.copytree(checked, str(tmp_path / str(n) / "out")), f"alice/whole{n}"
        with hub.start(DIES, out, repo, at) as client:
            client.communicate()
        assert client.returncode == (-9 if at else 0)
        if at:
            hub.run(PUBLISH, out, repo, "100", given='{"tag": "v1"}\n')
        ended = left(hub, out, repo)
        wanted = wanted or ended
        assert ended == wanted, at


@pytest.mark.slow
def test_killed_anywhere_again_and_again_folder_and_repository_end_as_in_an_unbroken_run(
    hub, checked, tmp_path
):
    """Each time the part of the run that is killed is another one, by the calls that it takes."""
    whole, out = (shutil.copytree(checked, str(tmp_path / name / "out")) for name in ("whole", "killed"))
    calls = [[whole, "alice/unbroken"], *([[out, "alice/broken"]] * 3)]
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_write", "HF_HOME": str(hub.home)}
    shares = [0.2, 0.45, 0.35]
    codes = deaths.ends("publish", shares, calls, HF_HUB_OFFLINE="0", **environment)
    assert codes[0] == -9, codes
    hub.run(PUBLISH, out, "alice/broken", "100", given='{"tag": "v1"}\n')
    assert left(hub, out, "alice/broken") == left(hub, whole, "alice/unbroken")


COMMAND = "import sys; from imgprep.app.cli import main; sys.exit(main(sys.argv[1:]))"
ERRORS = """
import json, os, sys, urllib.request
import huggingface_hub as hf
from imgprep import RunStopped, publish
from imgprep.io import hub
from imgprep.io.hub import repo, sending
from imgprep.stages.publish import plan
from imgprep.stages.publish import sending as publishing
repo.PAUSE_S = 0.01
out, address = sys.argv[1], os.environ["HF_ENDPOINT"]

def server(what, **given):
    urllib.request.urlopen(urllib.request.Request(f"{address}/__stub__/{what}", data=json.dumps(given).encode()))

def tell(name, repo, token="hf_write", **more):
    os.environ["HF_TOKEN"] = token
    try:
        result = publish.publish(out, repo, licence="cc0-1.0", **more)
        print(json.dumps([name, "", result.commit]))
    except (ValueError, RunStopped) as e:
        print(json.dumps([name, type(e).__name__, str(e)]))
    server("reset")

def fail(path, method="POST", times=99, **how):
    server("faults", method=method, path=path, times=times, **how)

os.environ["OTHER"] = ""
tell("no token", "alice/e", token="")
tell("no variable", "alice/e", token_env="OTHER")
tell("wrong token", "alice/e", token="hf_bogus")
tell("read-only", "bob/e", token="hf_read")
tell("fine-grained", "carol/e", token="hf_fine")
tell("another's", "bob/e")
tell("no name", "a b/c")
fail("/api/repos/create", status=403, message="You have reached the storage limit of your quota")
tell("quota", "alice/e")
fail("/api/whoami", "GET", status=429, headers={"Retry-After": "0"})
tell("too many", "alice/e1", token_env="HF_TOKEN")
fail("/api/datasets/alice/e", "GET", status=500)
tell("fault", "alice/e")
fail("/api/datasets/alice/e", "GET", drop=True)
tell("cut", "alice/e")
fail("/commit/main", times=2, status=503)
tell("passing", "alice/e")
publishing.loaded_back = plan.PublishPlan.opens = lambda *a: ""  # it did; a second each
fail("/commit/main", times=1, drop=True, late=True)
tell("lost", "alice/lost", tag="v1")
sending.FILES_OF_COMMIT = 5
fail("/merge", times=1, drop=True, late=True)
tell("lost merge", "alice/merged")
sending.FILES_OF_COMMIT = 100
fail("/preupload/", times=1, status=500)
tell("announced", "alice/f")
os.environ["HF_HUB_DISABLE_XET"] = "1"
hf.constants.HF_HUB_DISABLE_XET = True
fail("/lfs/", "PUT", times=1, drop=True)
tell("put", "alice/g", drop_columns=["source"])
hf.constants.HF_HUB_DISABLE_XET = False
api = hf.HfApi(token="hf_write")
api.create_repo("alice/taken", repo_type="dataset")
api.upload_file(path_or_fileobj=b"# Mine", path_in_repo="README.md", repo_id="alice/taken", repo_type="dataset")
tell("taken", "alice/taken")
text = hub.Repo("alice/e").text("README.md", "main") + "Write to me."
api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id="alice/e", repo_type="dataset")
look, seen = hub.Repo.look, []
def and_another(self, *a):
    found = look(self, *a)
    if not seen.append(1) and len(seen) == 1:
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/e", repo_type="dataset")
    return found
hub.Repo.look = and_another
tell("stale", "alice/e", drop_columns=["source"])
hub.Repo.look = look
fail("/api/datasets/alice/e/tree", "GET", status=403, headers={"X-Error-Code": "GatedRepo"})
tell("gated", "alice/e")
fail("/api/datasets/alice/hidden", "GET", status=404, headers={"X-Error-Code": "RepoNotFound"})
tell("hidden", "alice/hidden")
tell("tag", "alice/e", tag="v1")
tell("tag again", "alice/e", tag="v1", drop_columns=["source"])
tell("words", "alice/e", tag="v2", drop_columns=["source"])
for card in (hub.Repo("alice/e").text("README.md", "v2"), open(out + "/README.md").read()):
    assert card.rstrip().endswith("Write to me.")
hf.constants.HF_HUB_OFFLINE = True
tell("offline", "alice/e")
"""


def test_every_failure_is_one_sentence_and_leaves_nothing_half_done(hub, ready):
    hub.ask("reset")
    runs = "run it again: what has arrived is not sent twice"
    told = [json.loads(line) for line in hub.run(ERRORS, ready) if line.startswith("[")]
    wanted = {
        "no token": ("ValueError", "there is no token for the Hub: set HF_TOKEN, or log in once with `hf auth login`"),
        "no variable": ("ValueError", "the environment variable OTHER, which should hold the token, is not set"),
        "wrong token": ("ValueError", "the Hub does not take the token: make a new one at its /settings/tokens"),
        "read-only": ("ValueError", "the token of bob may only read: make one that may write to bob"),
        "fine-grained": ("ValueError", "the token of carol may not write to carol/e: give it write access there"),
        "another's": ("ValueError", "alice cannot write to bob: name it alice or acme/…"),
        "no name": ("ValueError", "repo_id is 'owner/name' on the Hub, not 'a b/c'"),
        "quota": ("RunStopped", r"there is no room left for alice/e on the Hub \(.* quota\): make room, then " + runs),
        "too many": ("RunStopped", r"the Hub has had too many requests \(429\): wait a while, then " + runs),
        "fault": ("RunStopped", r"the Hub has a fault of its own \(500\): wait a while, then " + runs),
        "cut": ("RunStopped", r"the connection to http\S+ failed \(RemoteProtocolError: Server disc.*\): " + runs),
        "passing": ("", "[0-9a-f]{40}"),
        "lost": ("", "[0-9a-f]{40}"),
        "lost merge": ("", "[0-9a-f]{40}"),
        "announced": ("", "[0-9a-f]{40}"),
        "put": ("", "[0-9a-f]{40}"),
        "taken": ("ValueError", r"\S+taken is taken by something that imgprep did not publish, or .*: take another.*"),
        "stale": ("RunStopped", r"somebody else published to alice/e meanwhile and nothing was changed: look at .*"),
        "gated": ("ValueError", r"alice/e is gated and alice has no access to it: ask for it at \S+"),
        "hidden": ("ValueError", "the Hub does not show alice/hidden to this token: give it read access there, too"),
        "tag": ("", "[0-9a-f]{40}"),
        "tag again": ("ValueError", r"\S+ has a tag 'v1' already, of commit [0-9a-f]{12}: take another"),
        "words": ("", "[0-9a-f]{40}"),
        "offline": ("ValueError", "HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to publish"),
    }
    assert [name for name, *_ in told] == [*wanted]
    for name, kind, text in told:
        assert kind == wanted[name][0] and re.fullmatch(wanted[name][1], text), (name, kind, text)
    assert "x.txt" in hub.files("alice/e") and not [f for f in hub.files("alice/taken") if f.endswith(".parquet")]


PIPELINE = """
description: Show the world
parameters: {repo_id: "", licence: null}
steps:
- name: publish
  notebook: notebooks/05_publish.ipynb
  when: ${repo_id}
  parameters: {source: out, repo_id: "${repo_id}", licence: "${licence}"}
report: [out]
"""


@pytest.mark.notebooks
def test_the_notebook_publishes_as_a_step_and_the_report_links_to_it(hub, checked, project):
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    shutil.copytree(ROOT / "notebooks", project.root / "notebooks")
    project.pipeline("show", PIPELINE)
    shutil.copytree(checked, project.root / "out")
    said = hub.run(COMMAND, "run", "show", "-p", "repo_id=alice/shown", "-p", "licence=cc0-1.0")
    assert said[-1] == f"hub      {hub.url}/datasets/alice/shown" and "README.md" in hub.files("alice/shown")
    (page,) = project.root.glob("reports/show/*/report.html")
    assert f'out is published: <a href="{hub.url}/datasets/alice/shown">alice/shown</a>' in page.read_text()
    (notebook,) = project.root.glob("reports/show/*/01_publish.ipynb")
    assert "hf_write" not in notebook.read_text() and "50 rows loaded back" in notebook.read_text()
