"""Files that appear whole or not at all, in a local folder or on an object store (any fsspec URI)."""

import contextlib
import errno
import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PRIVATE = ".imgprep"
TMP = f"{PRIVATE}/tmp"
STARTED = f"{PRIVATE}/started"
# What a file system says of a folder, or of a place, that cannot be settled.
UNSETTLED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


class Folder:
    """A folder named by a local path or an fsspec URI; names inside it use `/`.

    Pickles as its path. Does not create anything until something is written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        text = os.fspath(path)
        # "file://" is fsspec's word for a plain path; all else with "://" is a store.
        self.remote = "://" in text and not text.startswith("file://")
        if self.remote:
            self.path = text.rstrip("/")
        else:
            self.path = os.path.abspath(os.path.expanduser(text.removeprefix("file://")))

    def __reduce__(self) -> tuple[Any, ...]:
        return Folder, (self.path,)

    def filesystem(self) -> tuple[Any, str]:
        """fsspec's file system of a store, and this folder's place in it."""
        import fsspec  # only where a store is used

        # Without its cache of listings, another run's
        # files would not be seen until this process ends.
        fs, root = fsspec.core.url_to_fs(self.path, use_listings_cache=False)
        return fs, str(root)

    def full(self, name: str) -> str:
        return f"{self.path}/{name}" if self.remote else os.path.join(self.path, *name.split("/"))

    def open(self, name: str, *, ahead: bool = True) -> BinaryIO | str:
        """What pyarrow.parquet opens: a local path, or a seekable file of the store (ahead: it reads
        more than is asked for, which helps who reads in small steps)."""
        if not self.remote:
            return self.full(name)
        fs, root = self.filesystem()
        found: BinaryIO = fs.open(f"{root}/{name}", "rb", **({} if ahead else {"cache_type": "none"}))
        return found

    def get(self, name: str) -> bytes | None:
        """The bytes of a file; None when there is none."""
        try:
            if not self.remote:
                return Path(self.full(name)).read_bytes()
            fs, root = self.filesystem()
            return bytes(fs.cat_file(f"{root}/{name}"))
        # NotADirectoryError: a file stands where a folder
        # of the name would be; so there is no such file.
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        """Size in bytes; None when there is no such file."""
        try:
            if not self.remote:
                return os.path.getsize(self.full(name))
            fs, root = self.filesystem()
            return int(fs.info(f"{root}/{name}")["size"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, prefix: str) -> list[str]:
        """The file names directly under `prefix/`, sorted; empty when there is no such folder."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not self.remote:
                # Sorted: the order of a directory is the file
                # system's own, and results must not depend on it.
                return sorted(e.name for e in os.scandir(self.full(prefix)) if e.is_file())
            fs, root = self.filesystem()
            return sorted(p.rsplit("/", 1)[-1] for p in fs.ls(f"{root}/{prefix}", detail=False))
        return []

    def entries(self) -> set[str]:
        """The names of files and folders at the top; empty when there is no such folder."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not self.remote:
                return set(os.listdir(self.path))
            fs, root = self.filesystem()
            found = {str(path).rstrip("/") for path in fs.ls(root, detail=False)}
            return {path.rsplit("/", 1)[-1] for path in found - {root.rstrip("/")}}
        return set()

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not self.remote:
                os.unlink(self.full(name))
                return
            fs, root = self.filesystem()
            fs.rm_file(f"{root}/{name}")

    def move(self, name: str, target: str) -> None:
        """Give a file another name. A store copies it: the old one stays there until it is deleted."""
        if not self.remote:
            os.makedirs(os.path.dirname(self.full(target)), exist_ok=True)
            os.replace(self.full(name), self.full(target))
            return
        fs, root = self.filesystem()
        fs.cp_file(f"{root}/{name}", f"{root}/{target}")

    def sha256(self, name: str) -> str:
        """Of all its bytes. FileNotFoundError when there is no such file."""
        opened = self.open(name)
        with open(opened, "rb") if isinstance(opened, str) else opened as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def changed_ns(self, name: str) -> int:
        """When a local file was last written, moved here or given other rights. OSError when there is none."""
        found = os.stat(self.full(name))
        # ctime too: `cp -p` and rsync set the mtime back, and a moved file keeps it.
        return max(found.st_mtime_ns, found.st_ctime_ns)

    def put(self, name: str, data: bytes, *, settled: bool = False) -> None:
        """Write a small file in one step. An unchanged file is left alone. settled: see `settle`."""
        # Compared first: the time of a file says when it
        # changed, and a look at damage goes by that time.
        if self.get(name) != data:
            with self.create(lambda _: name, settled=settled) as sink:
                sink.write(data)

    @contextlib.contextmanager
    def create(self, name: Callable[[str], str], *, settled: bool = False) -> Iterator["Sink"]:
        """A new file: written beside its place, moved there when the block ends without an error.

        name: gets the sha256 (hex) of what was written and returns the file's name in this folder.
        settled: on the disk before it is moved, and the move before this returns.
        """
        # A store has no rename: the file is made locally and goes up in one PUT.
        tmp = tempfile.gettempdir() if self.remote else self.full(TMP)
        if not self.remote and not os.path.isdir(self.full(PRIVATE)):
            tmp = self.path  # a plain folder, not a dataset's
        os.makedirs(tmp, exist_ok=True)
        # A name of its own: two runs in a folder, or two
        # threads of one, must not write into one file.
        path = os.path.join(tmp, f".{os.getpid()}-{uuid.uuid4().hex}")
        sink = Sink(path)
        try:
            yield sink
            sink.close()
            # Only now: a name may hold the hash of all that was written.
            sink.name = name(sink.sha256)
            if self.remote:
                fs, root = self.filesystem()
                fs.put_file(path, f"{root}/{sink.name}")
                os.unlink(path)
            else:
                target = self.full(sink.name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if settled:
                    sync_path(path)
                os.replace(path, target)
                if settled:
                    sync_path(os.path.dirname(target))
        # BaseException: the stop button, too, must not leave half a file.
        except BaseException:
            with contextlib.suppress(OSError):
                sink.close()
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def settle(self, names: Iterable[str]) -> None:
        """Have these files, and that they are there, on the disk itself: a loss of power takes nothing of them.

        To be called before anything lists them. A store has no such thing: what it took is there.
        """
        if self.remote:
            return
        # The folder above as well: a new folder's own name stands in there.
        homes = {self.path, os.path.dirname(self.path)}
        for name in names:
            sync_path(self.full(name))
            home = os.path.dirname(self.full(name))
            while home.startswith(self.path + os.sep):
                homes.add(home)
                home = os.path.dirname(home)
        # The deepest first, so that what is named is there before its name is.
        for home in sorted(homes, reverse=True):
            sync_path(home)

    def sweep(self) -> None:
        """Remove what a killed process left half written. The caller holds the folder's lock."""
        for place in (TMP, STARTED):
            for name in self.list(place):
                self.delete(f"{place}/{name}")


def sync_path(path: str) -> None:
    """Have a local file, or the names in a folder, on the disk itself. OSError where the disk fails."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written into, and not be read
        return
    try:
        os.fsync(handle)
    except OSError as e:
        # What cannot be synced (a share, a FUSE disk) is
        # no reason to fail; what fails to be (EIO) is.
        if e.errno not in UNSETTLED:
            raise
    finally:
        os.close(handle)


class Sink(io.RawIOBase):
    """A file being written, with its size and sha256 known when it is closed."""

    def __init__(self, path: str):
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._hash = hashlib.sha256()
        self.name, self.bytes = "", 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self._file.closed:  # a Parquet writer that is given up still wants to write its last page
            self._hash.update(data)
            self.bytes += memoryview(data).nbytes
            self._file.write(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self.bytes

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        self._file.close()
        super().close()
