"""The commands of pages in docs/how-to, run as they stand there, in an empty folder.

What installs something is left out, and a port is a free one; nothing else is changed.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, azurite_connection
from made import picture

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.stages import images

pytestmark = [pytest.mark.slow]
PAGES = ROOT / "docs" / "how-to"
INSTALLS = re.compile(r"(python -m pip|npm install|make setup|source \.venv).*|python$")
# A small part of the work: the sizes of two pictures, without tags and pages.
FEW = " -p limit=2 -p 'taggers=[]' -p engine=local -p workers=0"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / page).read_text("utf-8"), re.DOTALL)


def commands(block: str) -> str:
    """Without what installs something, which CI has done."""
    lines = [line for line in block.splitlines() if not INSTALLS.fullmatch(line.split("  #")[0].strip())]
    assert lines, "nothing is left of it"
    return "\n".join(lines).replace("imgprep run gallery", f"imgprep run gallery{FEW}")


@pytest.fixture
def shell(project):
    """shell(text): what a person types, in the empty folder; the finished process."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    names = project.root / "bin"
    names.mkdir()
    for name, words in {"imgprep": "-m imgprep", "moto_server": "-m moto.server", "python": ""}.items():
        (names / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (names / name).chmod(0o755)

    def run(text: str) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_HUB_")}
        environment["PATH"] = f"{names}:{environment['PATH']}"
        # Servers end with their shell, and hold no pipe open that somebody reads to its end.
        typed = f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}"
        with open(project.root / "said", "w+") as said:
            job = subprocess.run(
                ["bash", "-e", "-c", typed], env=environment, stdout=said, stderr=subprocess.STDOUT, timeout=150
            )
            said.seek(0)
            return subprocess.CompletedProcess(text, job.returncode, said.read())

    return run


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pictures(home: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(codec.encode(picture(number)))


def test_the_four_commands_differ_in_their_source_and_target_alone():
    """So that running one into each kind of store says what all four do."""
    found = []
    for page in ("storage.md", "without_a_cloud.md"):
        lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
        found += [shlex.split(line) for line in lines if "imgprep run" in line]
    assert {tuple(words[:3]) for words in found} == {("imgprep", "run", "gallery")}
    given = [sorted(word for word in words[3:] if word != "-p") for words in found]
    azure, s3, source = "target=az://gallery-{variant}", "target=s3://my-bucket/gallery", "source=my_artwork"
    assert given[:2] == [[source, azure], [source, s3]]
    assert given[2:] == [[azure], ["target=s3://my-bucket/gallery"]]


@pytest.mark.notebooks
@pytest.mark.store
def test_azure_as_the_pages_have_it(shell, project, needs):
    needs("azurite-blob")
    port = free_port()
    begin = commands(blocks("without_a_cloud.md", "bash")[0]).splitlines()[0]
    assert begin == "npx azurite-blob --inMemoryPersistence --skipApiVersionCheck &"
    begin = begin.removeprefix("npx ").replace(" &", f" --silent --blobPort {port} &")
    key = shlex.quote(azurite_connection(port))
    pictures(project.root / "my_artwork", ["a.png", "b.png"])
    done = shell("\n".join([begin, "sleep 3", commands(blocks("storage.md", "bash")[0]).replace("'…'", key)]))
    assert done.returncode == 0 and "\n6 of 6 pictures ready\n" in done.stdout, done.stdout
    uris = dataset.open("data/gallery/uploaded").table("train", ["uri"])["uri"].to_pylist()
    places = sorted("/".join(uri.split("/")[:3]) for uri in uris)
    assert places == [f"az://gallery-{size}" for size in ("original", "thumbnail", "vision") for _ in "ab"]


@pytest.mark.notebooks
@pytest.mark.store
def test_s3_as_the_page_has_it(shell):
    port = free_port()
    block = commands(blocks("without_a_cloud.md", "bash")[1])
    assert block.splitlines()[0] == "moto_server -p 5000 &"
    block = block.replace("5000 &", f"{port} >/dev/null 2>&1 &\nsleep 6").replace(":5000", f":{port}")
    done = shell(block)
    assert done.returncode == 0 and "\n6 of 6 pictures ready\n" in done.stdout, done.stdout
    uris = dataset.open("data/gallery/uploaded").table("train", ["uri"])["uri"].to_pylist()
    assert len(uris) == 6 and all(uri.startswith("s3://my-bucket/gallery/") for uri in uris)


def test_the_hub_as_the_page_has_it(shell, project):
    server, *rest = blocks("without_a_cloud.md", "bash")[2].splitlines()
    script = "tests/servers/hub_server.py"
    assert server.partition("#")[0].split() == ["python", script, "--root", "hub", "&"]
    pictures(project.root / "in", ["cat/1.png", "dog/2.png"])
    with imgprep.session("local", workers=0):
        images.transform("in", "data/products/ocr", fit)
    server = server.replace(script, shlex.quote(str(ROOT / script))).replace(" &", " > address &")
    lines = [line.replace("http://127.0.0.1:…", "$(cat address)") for line in rest]
    done = shell("\n".join([server, "sleep 4", *lines]))
    assert done.returncode == 0, done.stdout
    # Pictures, and the same rows without them.
    assert "alice/products holds data/products/ocr at commit" in done.stdout and "4 rows loaded back" in done.stdout


def fit(image):
    return image


def test_a_folder_of_photos_becomes_a_dataloader_as_the_page_has_it(shell, project):
    kinds = ["cat", "dog"]
    pictures(project.root / "my_photos", [f"{kinds[n % 2]}/{n}.png" for n in range(60)])
    (project.root / "my_photos" / "cat" / "broken.jpg").write_bytes(b"no picture")
    (code,) = blocks("my_photos.md", "python")
    code, _, shape = code.rstrip().rpartition("\n")
    promised = shape.partition("# ")[2]
    shown = f"print({shape.partition('#')[0].strip()})"
    Path("page.py").write_text(f'{code}\n{shown}\nprint(rows[rows["status"] != "ok"]["reason"].tolist())\n')
    done = shell("python page.py")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2:] == [promised, "['not_an_image']"]
    assert "60 of 61 pictures ready; 1 failed: not_an_image 1" in done.stdout
    *_, report = blocks("my_photos.md", "bash")
    done = shell(report)
    assert done.returncode == 0 and "report.html" in done.stdout, done.stdout
