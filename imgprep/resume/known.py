"""What is there already when a stage begins: the committed dataset, and what unfinished runs left."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import INDEX, Dataset
from imgprep.dataset.dataset import read_index
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.whole import OURS, Inspection
from imgprep.resume.again import OPTION_OF, changed_reasons, read_circumstances, to_try
from imgprep.resume.files_named import lost_files, without_lost
from imgprep.resume.kept import read_kept
from imgprep.resume.located import Located, lines_of, usable, whole_rows, with_reasons
from imgprep.resume.parts import PARTS

BOOKS = f"{PRIVATE}/index"


@dataclass
class Known:
    """What is there already when a stage begins.

    before: the committed dataset, or None. parts, committed: where results stand that may be used. etags: of the
    committed results, where the servers are to be asked for newer versions. kept: the lines of INDEX of rows that
    are in the dataset no more, whose results are in `committed` too. circumstances: the options that the committed
    failures were made with. indexes: of the splits, the lines whose files are whole. damaged: committed files that
    are not what was written, and in what. is_list_damaged: so is the manifest, and `before` is None.
    """

    before: Dataset | None = None
    parts: Located = field(default_factory=Located)
    committed: Located = field(default_factory=Located)
    etags: dict[bytes, str] = field(default_factory=dict)
    kept: pa.Table = field(default_factory=INDEX.empty_table)
    circumstances: dict[str, Any] = field(default_factory=dict)
    indexes: list[pa.Table] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    is_list_damaged: bool = False

    @property
    def listed(self) -> set[str]:
        """The files that readers of the committed dataset are shown, but for those of batches that were not whole."""
        files = self.before.files if self.before else []
        return {f["file"] for f in files if not f.get("partial")}

    def places(self, keys: pa.Array) -> pa.Table:
        """The lines of INDEX for each key. What an unfinished run left comes before what is committed."""
        # The unfinished run is the newer one: it was begun because something had changed.
        return lines_of(keys, self.parts, self.committed)

    def found(self, keys: pa.Array, *, refresh: bool = False) -> np.ndarray:
        """Which keys have a result, be it a failure. refresh: one of a run that was not finished."""
        found = self.parts.find(keys) >= 0
        return found if refresh else found | (self.committed.find(keys) >= 0)

    def ok(self, keys: pa.Array) -> np.ndarray:
        """Which keys an unfinished run has a result for, that is no failure."""
        at = self.parts.find(keys)
        done = np.asarray(self.parts.table["done"].to_numpy(), bool)
        ok = at >= 0
        ok[ok] = done[at[ok]]
        return ok

    def reasons(self, keys: pa.Array) -> np.ndarray:
        """Why the result of each key is a failure; "" where it is none, or there is no result."""
        reasons = np.full(len(keys), "", object)
        for located in (self.committed, self.parts):
            at = located.find(keys)
            hit = at >= 0
            reasons[hit] = located.table["reason"].take(pa.array(at[hit])).to_pylist()
        return reasons

    def again(self, keys: pa.Array, circumstances: dict[str, Any]) -> np.ndarray:
        """Which keys have a failure that is tried again. circumstances: the options as they are now."""
        reasons = self.reasons(keys)
        words = set(reasons) - {""}
        if not words:
            return np.zeros(len(keys), bool)
        changed = changed_reasons(circumstances, self.circumstances)
        again = np.isin(reasons, sorted(to_try(words, changed)))
        # Under which options an unfinished run refused a picture is not known.
        unsure = np.isin(reasons, sorted(words & OPTION_OF.keys()))
        return again | (unsure & (self.parts.find(keys) >= 0))


def known_in(
    folder: Folder,
    before: Dataset | None,
    *,
    retry: bool,
    refresh: bool,
    names_files: Sequence[str] = (),
) -> Known:
    """What stands in a dataset folder. retry: leave out the failures. refresh: with the ETags.
    names_files: columns that name files of the folder; rows whose file is lost are left out.
    """
    kept = read_kept(folder)
    kept = without_lost(folder, kept, names_files, lost_files(folder, kept, names_files))
    known = Known(before, kept=kept, circumstances=read_circumstances(folder))
    known.committed.add("kept", with_reasons(folder, usable(known.kept, (), retry=retry)))
    for name in folder.list(PARTS):
        with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):  # foreign or damaged: no part
            # A store has its own checksums; a disk after a loss of power does not.
            known.parts.add_part(folder, f"{PARTS}/{name}", verify=not folder.remote)
    if retry:
        known.parts.forget_failures()
    if before is None:
        _add_unlisted(folder, known, retry)
        return known
    known.damaged = dict(Inspection.quick(folder).damages(before.files))
    gone = [*known.damaged]
    for split in before.splits:
        books = [f["file"] for f in before.files if f["config"] == "index" and f["split"] == split]
        # A lost index costs a recomputation of its rows, never a wrong one.
        index = read_index(folder, [name for name in books if name not in gone])
        known.indexes.append(whole_rows(index, gone))
        lines = usable(index, gone, retry=retry)
        lost = lost_files(folder, lines, names_files)
        lines = without_lost(folder, lines, names_files, lost)
        known.damaged |= lost
        if refresh:
            asked = lines.filter(pc.field("etag") != "")
            pairs = zip(asked["key"].to_pylist(), asked["etag"].to_pylist(), strict=True)
            known.etags.update(pairs)
        known.committed.add(split, with_reasons(folder, lines))
    return known


def _add_unlisted(folder: Folder, known: Known, retry: bool) -> None:
    """What stands in files that no list names, because it was lost: their names say whether they are whole."""
    look = Inspection(folder, since_ns=int(folder.remote))
    for name in folder.list(BOOKS):
        book = f"{BOOKS}/{name}"
        if not OURS.fullmatch(name) or look.damage(book):
            continue
        with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):
            index = read_index(folder, [book])
            gone = [file for file in index["file"].unique().to_pylist() if look.damage(file)]
            known.indexes.append(whole_rows(index, gone))
            known.committed.add(book, with_reasons(folder, usable(index, gone, retry=retry)))
