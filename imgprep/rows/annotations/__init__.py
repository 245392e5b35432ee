"""Annotations in and out: COCO, Pascal VOC, YOLO and LabelMe as a column of objects beside each
picture.

`objects.py` says what an object is. What moves them with their pictures is `picture/boxes.py`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from imgprep import project, words
from imgprep.dataset import Dataset
from imgprep.picture.boxes import crop_objects, fit_pad_objects
from imgprep.rows import picture_folders, sources
from imgprep.rows.annotations import checks, coco, labelme, voc, yolo
from imgprep.rows.annotations.agreement import agreement_table
from imgprep.rows.annotations.objects import (
    COLUMN,
    Annotated,
    ToldObject,
    column,
    object_features,
    used_fields,
)
from imgprep.rows.annotations.scores import box_agreement
from imgprep.rows.annotations.written import check_names_inside, put_annotations
from imgprep.rows.left_behind import left_behind
from imgprep.words import number_of

__all__ = [
    "ANNOTATION_FORMS",
    "COLUMN",
    "agreement_table",
    "box_agreement",
    "crop_objects",
    "fit_pad_objects",
    "left_behind",
    "object_features",
    "read",
    "write",
]

BAD = ("raise", "drop", "keep")


class _Options(NamedTuple):
    """What `read` was told of the annotations."""

    side: str | None
    classes: Sequence[str] | None
    one_based: bool | None
    bad: str


class AnnotationForm(NamedTuple):
    """A format: how it is read and written, and where its pictures are usually."""

    load: Callable[..., list[Annotated]]
    dump: Callable[..., None]
    pictures: Callable[[str], str]
    is_file: bool = False  # one file for all pictures


def _same_folder(where: str) -> str:
    return where if os.path.isdir(where) else os.path.dirname(where)


# To add a format, add a module with `load` and `dump`, and a line.
ANNOTATION_FORMS = {
    "coco": AnnotationForm(coco.load_coco, coco.dump_coco, _same_folder, is_file=True),
    "voc": AnnotationForm(voc.load_voc, voc.dump_voc, voc.voc_pictures),
    "yolo": AnnotationForm(yolo.load_yolo, yolo.dump_yolo, yolo.yolo_pictures),
    "labelme": AnnotationForm(labelme.load_labelme, labelme.dump_labelme, _same_folder),
}


def read(
    where: str | Path | Mapping[str, str | Path],
    *,
    images: str | Path | None = None,
    form: str | None = None,
    side: str | None = None,
    classes: Sequence[str] | None = None,
    one_based: bool | None = None,
    bad: str = "raise",
) -> dict[str, pa.Table]:
    """Annotated pictures as `sources.read` gives tables: image_id, file_name, objects, source.

    where: COCO's .json, or a folder of files as VOC, YOLO and LabelMe write them (or YOLO's
        data.yaml); or split -> one
        of these. form: "coco", "voc", "yolo", "labelme"; None finds out.
    images: the folder of the pictures. None: where the format has it usually, else beside the
        annotations.
    side: what the annotations of pictures are of that EXIF turns: "shown" or "stored"; None: by the
        sizes that the annotations say. The column is always of the upright picture.
    classes: of YOLO, where no data.yaml and no classes.txt names them.
    one_based: of VOC, whether corners count from 1 and the last pixel is inside; None: unless one
        is 0.
    bad: what becomes of boxes without an area, outside their picture, or none at all: "raise" says
        so, "drop" leaves them out and counts them, "keep" keeps them. Boxes over the edge are
        clipped there, and counted.
    Raises ValueError for what the user has to mend: an id that names nothing, a picture named
        twice, other sizes …
    """
    if bad not in BAD:
        raise ValueError(f"bad is one of {', '.join(BAD)}, not {bad!r}")
    if not isinstance(where, Mapping):
        where = {"train": where}
    annotated = {}
    roots = {}
    for split, one in where.items():
        given = project.absolute(str(one))
        kind = _form_of(given, form)
        folder = (
            project.absolute(str(images))
            if images is not None
            else ANNOTATION_FORMS[kind].pictures(given)
        )
        options = _Options(side, classes, one_based, bad)
        annotated[split] = _read_one(given, kind, folder, options)
        roots[split] = folder
    # One type for all splits.
    fields = used_fields(picture.objects for some in annotated.values() for picture in some)
    found: dict[str, pa.Table] = {}
    for split, some in annotated.items():
        names = [picture.file_name for picture in some]
        objects = column([picture.objects for picture in some], fields)
        table = pa.table({"file_name": names, COLUMN: objects})
        found |= sources.read({split: table}, url_column="file_name", root=roots[split])
    return found


def write(
    source: Any,
    where: str | Path,
    form: str,
    *,
    split: str | None = None,
    name_column: str = "file_name",
    classes: Sequence[str] | None = None,
    one_based: bool = True,
) -> str:
    """Write the column `objects` of a dataset folder, or of a table with width and height, in a
    format. Returns where.

    where: COCO's file, else a folder that gets a file for each picture. form: "coco", "voc", "yolo"
        or "labelme".
    split: of the source; not needed where there is one. name_column: what names the pictures'
        files.
    classes: all names in their order, also those that no object has; None: those of the column,
        sorted.
    one_based: of VOC. What a format does not hold is counted in a sentence.
    What an earlier call wrote is replaced; ValueError where a file is another's or was edited.
    """
    if form not in ANNOTATION_FORMS:
        raise ValueError(f"form is one of {', '.join(ANNOTATION_FORMS)}, not {form!r}")
    table = _annotation_table(source, split)
    for name in (COLUMN, name_column, "width", "height"):
        if name not in table.column_names:
            raise ValueError(words.no_column(name, table.column_names, "the table"))
    pictures = _annotated(table, name_column)
    check_names_inside(picture.file_name for picture in pictures)
    found = {one["label"] for picture in pictures for one in picture.objects}
    names = list(classes) if classes is not None else sorted(found)
    missing = sorted(found - set(names))
    if missing:
        raise ValueError(f"classes does not name {missing[0]!r}, which objects have")
    notes = ToldObject()
    options = {"one_based": one_based} if form == "voc" else {}
    dump = ANNOTATION_FORMS[form].dump
    put_annotations(str(where), lambda place: dump(pictures, names, place, notes, **options))
    for sentence in notes.sentences():
        words.say(f"{project.from_root(where)}: {sentence}")
    return str(where)


def _form_of(where: str, form: str | None) -> str:
    if form is not None:
        if form not in ANNOTATION_FORMS:
            raise ValueError(f"form is one of {', '.join(ANNOTATION_FORMS)}, not {form!r}")
        return form
    if not os.path.exists(where):
        raise ValueError(words.missing(where))
    if os.path.isfile(where):
        return "yolo" if where.endswith((".yaml", ".yml")) else "coco"
    endings = {path.suffix for path in Path(where).iterdir()}
    for ending, kind in ((".xml", "voc"), (".json", "labelme"), (".txt", "yolo")):
        if ending in endings:
            return kind
    raise ValueError(
        f"{where} has no .xml, .json or .txt files: give form=, one of {', '.join(ANNOTATION_FORMS)}"
    )


def _read_one(where: str, kind: str, folder: str, options: _Options) -> list[Annotated]:
    notes = ToldObject()
    more: dict[str, Any] = {}
    if kind == "voc":
        more = {"one_based": options.one_based}
    if kind == "yolo":
        files = picture_folders.file_names(folder)
        names = [name for name in files if picture_folders.is_picture(name)]
        sizes = _sizes_of_files(folder, options.side)
        more = {"classes": options.classes, "pictures": names, "sizes": sizes}
    pictures = ANNOTATION_FORMS[kind].load(where, notes, **more)
    if not pictures:
        raise ValueError(f"{where} has no annotations that form={kind!r} reads")
    checks.check_names(pictures)
    sides = {}
    for picture in pictures:
        sides[picture.file_name] = checks.side_of_source(folder, picture.file_name)
    if options.bad != "keep":
        # "keep" keeps what cannot be right, other sizes among it.
        checks.check_sizes(pictures, sides)
    checks.turned_upright(pictures, sides, options.side, notes)
    problems = []
    for picture in pictures:
        found = sides[picture.file_name]
        size_wh = found.shown_wh if found else picture.size_wh
        problems += checks.settled(picture, size_wh, options.bad, notes)
    _tell_problems(where, problems, options.bad, notes)
    return pictures


def _tell_problems(where: str, problems: list[str], bad: str, notes: ToldObject) -> None:
    if problems and bad == "raise":
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise ValueError(
            f"{where}: {problems[0]}{more}; bad='drop' leaves such out, bad='keep' keeps them"
        )
    if problems:
        done = "left out" if bad == "drop" else "kept"
        are = "is" if len(problems) == 1 else "are"
        notes.said.append(
            f"{number_of(len(problems), 'box', 'boxes')} that cannot be right {are} {done}: {problems[0]} …"
        )
    for sentence in notes.sentences():
        words.say(f"{project.from_root(where)}: {sentence}")


def _sizes_of_files(folder: str, side: str | None) -> Callable[[str], tuple[int, int] | None]:
    """The size that a picture's annotations are shares of."""

    def size_of(name: str) -> tuple[int, int] | None:
        found = checks.side_of_source(folder, name)
        if found is None:
            return None
        return found.stored_wh if side == "stored" else found.shown_wh

    return size_of


def _annotation_table(source: Any, split: str | None) -> pa.Table:
    given = source if isinstance(source, Dataset) else sources.given(source)
    splits = given.splits if isinstance(given, Dataset) else list(given)
    if split is None and len(splits) > 1:
        raise ValueError(f"split says which: {', '.join(splits)}")
    if split is not None and split not in splits:
        raise ValueError(f"no split {split!r}; there are: {', '.join(splits)}")
    chosen = split or splits[0]
    return given.table(chosen) if isinstance(given, Dataset) else given[chosen]


def _annotated(table: pa.Table, name_column: str) -> list[Annotated]:
    pictures = []
    for row in table.select([name_column, COLUMN, "width", "height"]).to_pylist():
        size_wh = (row["width"], row["height"]) if row["width"] and row["height"] else None
        pictures.append(Annotated(str(row[name_column]), row[COLUMN] or [], size_wh))
    return pictures
