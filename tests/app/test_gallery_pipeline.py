"""The pipeline `gallery` as a person runs it, into Azurite: what is there, and what is told to whom."""

import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import AZURITE_KEY, ROOT, azurite_connection
from PIL import Image

from imgprep import dataset
from imgprep.app import runner
from imgprep.display import show
from imgprep.io.stores import Store
from imgprep.stages import upload

pytestmark = [pytest.mark.notebooks, pytest.mark.slow, pytest.mark.store]
GIVEN = {"source": "in", "out": "data/made", "vision_max_side": 200, "thumbnail_side": 64, "write_requests": True,
         "engine": "local", "workers": 0}  # fmt: skip


@pytest.fixture
def gallery(project):
    """A project with the real notebooks and a folder of four pictures; one cannot be read."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    shutil.copytree(ROOT / "notebooks", project.root / "notebooks")
    shutil.copytree(ROOT / "pipelines", project.root / "pipelines")
    (project.root / "in").mkdir()
    rng = np.random.default_rng(0)
    for n in range(3):
        noise = rng.integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((400, 300)).save(project.root / "in" / f"{n}.jpg", quality=95)
    (project.root / "in" / "broken.jpg").write_bytes(b"no picture")
    return project.root


def told(root: Path) -> dict[str, str]:
    """All that a run leaves in files: name -> text, Parquet decoded."""
    files = [f for folder in ("data", "reports") for f in (root / folder).rglob("*") if f.is_file()]
    texts = {str(f.relative_to(root)): f.read_bytes().decode("utf-8", "replace") for f in files}
    for file in files:
        if file.suffix == ".parquet":
            columns = [c for c in pq.read_schema(file).names if c not in ("image", "original", "key")]
            texts[str(file.relative_to(root))] += str(pq.read_table(file, columns=columns).to_pydict())
    return texts


def written(uris: list[str]) -> set[str]:
    roots = {"/".join(uri.split("/")[:3]) for uri in uris}
    return {f"{root}/{name}" for root in roots for name in Store(root).list()}


def test_azure_holds_exactly_what_the_dataset_says_and_no_file_holds_the_key(gallery, azurite, monkeypatch):
    place = f"t{uuid.uuid4().hex[:20]}"
    given = {**GIVEN, "target": f"az://{place}-{{variant}}", "signed_urls": True}
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network
    import albumentations

    albumentations.save(albumentations.HorizontalFlip(p=1.0), "flip.yaml", "yaml")
    given |= {"augment": "flip.yaml", "copies": 1}
    command = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    done = subprocess.run([sys.executable, "-m", "imgprep", "run", "gallery", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n12 of 13 pictures ready; 1 failed: not_an_image 1; " in done.stdout
    up = dataset.open("data/made/uploaded")
    assert up.counts() == {"rows": 13, "ok": 12, "placeholder": 0, "failed": 1, "reasons": {"not_an_image": 1}}
    uris = up.table("train")["uri"].drop_null().to_pylist()
    assert written(uris) == set(uris)

    (folder,) = gallery.glob("reports/gallery/2*")
    notebook = (folder / "01_variants.ipynb").read_text("utf-8")
    assert notebook.count(">refused<") == 4 and "PUBLIC" not in notebook
    for words in ("200 × 150 · JPEG, quality ", "400 × 300 · JPEG, as it was", "3 requests in 1 file", "not_an_image"):
        assert words in notebook, words
    page = (folder / "report.html").read_text("utf-8")
    assert "Every size" in page and len(re.findall(r"thumbnail: 64 × 48 · JPEG, quality 85", page)) >= 3

    texts = {**told(gallery), "the command": done.stdout + done.stderr}
    requests = texts.pop("data/made/requests/requests-00001.jsonl")
    assert requests.count("sig=") == 3
    for name, text in texts.items():
        assert AZURITE_KEY not in text and "AccountKey" not in text and "sig=" not in text, name
    assert AZURITE_KEY not in requests
    from azure.storage.blob import BlobServiceClient

    admin = BlobServiceClient.from_connection_string(azurite_connection(azurite))
    admin.get_container_client(f"{place}-vision").set_container_access_policy({}, public_access="blob")
    cell = show.places(up, upload.public(up))
    assert cell._repr_html_().count("<b style='color:#d11'>PUBLIC: anyone can read this") == 1
    assert f"az://{place}-vision: 3 pictures, PUBLIC" in repr(cell)


@pytest.mark.parametrize("name", ["credentials_env", "publish.token_env"])
def test_a_key_in_the_place_of_a_variables_name_is_written_nowhere(gallery, name):
    with pytest.raises(ValueError, match=f"{name} is the NAME of an environment variable, and there is none") as caught:
        runner.run_notebooks("gallery", {**GIVEN, name: AZURITE_KEY, "repo_id": "me/prints"})
    assert AZURITE_KEY not in str(caught.value)
    assert not [name for name, text in told(gallery).items() if AZURITE_KEY in text]


def test_a_wrong_key_ends_the_command_with_a_sentence(gallery, azurite, monkeypatch):
    wrong = "hush" + AZURITE_KEY[4:]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(azurite, wrong))
    with pytest.raises(runner.StepFailed) as caught:
        runner.run_notebooks("gallery", {**GIVEN, "target": "az://pictures"})
    assert caught.value.exit_code == 2
    first, *_ = str(caught.value).splitlines()
    assert first.endswith(": az://pictures/original refuses these credentials: check AZURE_STORAGE_CONNECTION_STRING")
    (saved,) = gallery.glob("reports/gallery/*/01_variants.ipynb")
    errors = [o for cell in json.loads(saved.read_text())["cells"] for o in cell.get("outputs", [])
              if o["output_type"] == "error"]  # fmt: skip
    assert len(errors) == 1 and len(errors[0]["traceback"]) == 1, "no traceback"
    assert not [name for name, text in told(gallery).items() if wrong in text]
    assert not Path("data/made/sizes").exists(), "told before any picture is touched"
