"""What all tests share: a clean environment, the test pictures, and parts of the machine that may be missing."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "data"

# Before anything is imported that reads them: nobody's own cache, cluster or proxy gets into a test.
_home = tempfile.TemporaryDirectory(prefix="imgprep-tests-")
os.environ.update(HF_HOME=_home.name, IPYTHONDIR=_home.name, HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ["PYTHONPATH"] = str(ROOT)  # for kernels, workers and commands, also where the package is not installed
for _name in [*os.environ]:
    is_proxy = _name.lower() in ("http_proxy", "https_proxy", "all_proxy")
    if is_proxy or _name.startswith(("IMGPREP_", "RAY_", "AWS_", "AZURE_")):
        del os.environ[_name]

# A shell without a terminal starts its background jobs with the interrupt ignored, and their children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(what: str) -> None:
    """Skip a test for want of a part of the machine; where CI is set everything is there, so it fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


@pytest.fixture(scope="session")
def needs():
    """needs("chromium", "google-chrome") -> the path of the first of these programs that is installed."""

    def find(*programs: str) -> str:
        return next(filter(None, map(shutil.which, programs)), None) or missing(" or ".join(programs))

    return find


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of test pictures beside the repository."""
    return CORPUS


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's three films, to be read: whoever changes one copies it before."""
    from imgprep.sample.films import make_films  # an extra, that other tests need not have

    home = tmp_path_factory.mktemp("made") / "films"
    make_films(home)
    return home


@pytest.fixture(scope="session")
def s3():
    """An S3 server on loopback for the whole session, named by the environment as a user would; a filesystem on it.

    One for all: fsspec keeps its filesystems, and with them the address of the server they first saw.
    """
    import fsspec

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    names = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "us-east-1"}
    names["AWS_SECRET_ACCESS_KEY"] = "a-key-that-nobody-may-find"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=1)
                break
            time.sleep(0.1)
        # One that a test without a server had made would know no credentials.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield fsspec.filesystem("s3", skip_instance_cache=True)
    server.terminate()
    server.wait(10)


# What Microsoft publishes for the emulator; in pieces, for those who look for keys in sources.
AZURITE = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq" + "/K1SZFPTOtr/KBHBeksoGMGw" + "=="


def azurite_connection(port: int, key: str = AZURITE_KEY) -> str:
    endpoint = f"BlobEndpoint=http://127.0.0.1:{port}/{AZURITE}"
    return f"DefaultEndpointsProtocol=http;AccountName={AZURITE};AccountKey={key};{endpoint};"


@pytest.fixture(scope="session")
def azurite(needs):
    """Azure's Blob emulator on loopback for the whole session, named by the environment as a user would; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [needs("azurite-blob"), "--silent", "--inMemoryPersistence", "--skipApiVersionCheck"]
    command += ["--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(port))
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield port
    server.terminate()
    server.wait(10)


class Hub:
    """A Hub on loopback (hub_server.py). Its clients are processes: they read HF_ENDPOINT when they start."""

    def __init__(self, url: str, home: Path):
        self.url, self.home = url, home

    def ask(self, what: str, **given: object) -> dict:
        """stats, reset, faults or repo of the server."""
        request = urllib.request.Request(f"{self.url}/__stub__/{what}", data=json.dumps(given).encode())
        return json.load(urllib.request.urlopen(request))

    def sent(self) -> int:
        """Bytes of data that arrived since the last reset."""
        found = self.ask("stats")["bytes_in"]
        return sum(n for what, n in found.items() if "xorbs" in what or what == "PUT lfs")

    def files(self, repo: str) -> set[str]:
        """What a reader sees on main."""
        where = f"{self.url}/api/datasets/{repo}/tree/main?recursive=true"
        request = urllib.request.Request(where, headers={"Authorization": "Bearer hf_write"})
        return {row["path"] for row in json.load(urllib.request.urlopen(request)) if row["type"] == "file"}

    def start(self, code: str, *words: str, token: str = "hf_write", xet: bool = True) -> subprocess.Popen:
        """A client with its standard streams open."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= ({"HF_TOKEN": token} if token else {}) | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([sys.executable, "-c", code, *words], env=environment, text=True, **pipes)

    def run(self, code: str, *words: str, given: str = "", **more: object) -> list[str]:
        """The lines that a client prints when it is given this text."""
        client = self.start(code, *words, **more)
        out, err = client.communicate(given, timeout=120)
        assert client.returncode == 0, err[-3000:]
        return out.splitlines()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory):
    """One Hub and one HF_HOME for all tests: a test takes repositories of its own."""
    folder = tmp_path_factory.mktemp("hub")
    command = [sys.executable, str(ROOT / "tests" / "servers" / "hub_server.py"), "--root", str(folder / "hub")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield Hub(server.stdout.readline().strip(), folder / "home")
    server.terminate()
    server.wait(10)


class Project:
    """An empty project folder to put tiny notebooks and pipelines into."""

    def __init__(self, root: Path):
        self.root = root

    def notebook(self, name: str, parameters: str, *cells: str) -> Path:
        """notebooks/NAME.ipynb: a `parameters` cell, then code cells."""
        import nbformat

        first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    def pipeline(self, name: str, text: str) -> Path:
        """pipelines/NAME.yaml"""
        path = self.root / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of its own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def unpacked_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel of this tree holds: on PYTHONPATH it is an installation without a clone."""
    if not importlib.util.find_spec("hatchling"):  # the build must not reach for the network
        missing("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("corpus") and not CORPUS.is_dir():
        missing("the test pictures in ../shared/data")
