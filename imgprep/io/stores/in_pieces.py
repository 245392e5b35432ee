"""Files that may be larger than memory, into a store and out of it: some pieces are held at once."""

import hashlib
from pathlib import Path
from typing import Any

import obstore

from imgprep.io.stores.faults import told
from imgprep.io.stores.store import FOREVER, Store

HELD_BYTES = 8 << 20  # S3 takes 10,000 pieces of an object: films of 80 GB
PIECES_AT_ONCE = 2


@told
def put_file(
    store: Store, name: str, path: Path, *, content_type: str, sha256: str
) -> tuple[str, str]:
    """`Store.put` of a file's bytes."""
    if path.stat().st_size <= HELD_BYTES:
        return store.put(name, path.read_bytes(), content_type=content_type, sha256=sha256)
    known = store.find(name)
    if known is not None and known["sha256"] == sha256:
        return "present", known["etag"]
    about = {"Content-Type": content_type, "Cache-Control": FOREVER, "sha256": sha256}
    # No "create": of an object that is put in pieces no store says that one was there.
    how: dict[str, Any] = {"attributes": None if store.kind == "file" else about}
    how |= {"use_multipart": True, "chunk_size": HELD_BYTES, "max_concurrency": PIECES_AT_ONCE}
    return "uploaded", store._etag(obstore.put(store._client, store._path(name), path, **how))


@told
def get_file(store: Store, name: str, path: Path) -> str:
    """Write an object into a file: the sha256 of its bytes."""
    total = hashlib.sha256()
    pieces = obstore.get(store._client, store._path(name)).stream(min_chunk_size=HELD_BYTES)
    with path.open("wb") as file:
        for piece in pieces:
            total.update(piece)
            file.write(piece)
    return total.hexdigest()
