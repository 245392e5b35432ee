"""The dataset card: YAML that names every file of every config and split, then what the run knows of the dataset.

What stands between two marks is ours and written anew each time. What a person writes above or below them, and what
they add to the YAML, stays.
"""

import json
import re
from functools import cache
from html import escape
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from imgprep.dataset.counts import count, words
from imgprep.words import bytes_text

BEGIN = "<!-- imgprep writes from here anew each time: write above -->"
END = "<!-- to here: or below -->"
TITLE = "# Image dataset"
DERIVED = ("configs", "dataset_info", "size_categories")  # keys of the YAML that follow from the data
ORDER = [
    "license",
    "pretty_name",
    "task_categories",
    "tags",
    "size_categories",
    "configs",
    "dataset_info",
]
CATEGORIES = (
    "n<1K",
    "1K<n<10K",
    "10K<n<100K",
    "100K<n<1M",
    "1M<n<10M",
    "10M<n<100M",
    "100M<n<1B",
    "n>1B",
)
Files = list[dict[str, Any]]


def write(
    info: dict[str, Any],
    files: Files,
    schemas: dict[str, pa.Schema],
    *,
    before: str = "",
    keys: dict[str, Any] | None = None,
    given: dict[str, Any] | None = None,
    title: str = TITLE,
    facts: dict[str, Any] | None = None,
) -> str:
    """The card of these files.

    info, files: of the manifest. schemas: of each config, the one that is opened without a name first. before: the
    card as it was, for what a person wrote into it. keys: of the YAML, where no person gave others; given: those that
    hold whatever stood there. title: the heading of a new card. facts: what `facts.count` found; without, the card
    counts outcomes only.
    """
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    # In the order of `schemas`, since the first config is what load_dataset opens without a name.
    for config, schema in schemas.items():
        splits = _files_of(config, info["splits"], files)
        if not splits:  # `datasets` cannot load a config without rows, so the card does not offer one
            continue
        is_first = not configs
        configs.append(_config(config, splits) | ({"default": True} if is_first else {}))
        infos.append(_info(config, splits, schema))
    before = _readable_text(before)
    above, below = own_text(before)
    # A person's keys before the defaults, and what publishing must hold before theirs.
    meta = {**(keys or {}), **_own_keys_only(before), **(given or {})}
    if configs:
        meta |= {"configs": configs, "dataset_info": infos}
    body = _template("card.md" if facts else "outcome.md").render(
        info=info,
        counts=[{"split": split} | count(files, split) for split in info["splits"]],
        data=[_shown(one) for one in infos],
        **(facts or {}),
    )
    return _joined(meta, above or title, body.strip(), below)


def _files_of(config: str, splits: list[str], files: Files) -> dict[str, Files]:
    """The files of a config by split; none of a split without rows."""
    found: dict[str, Files] = {}
    for split in splits:
        mine = [f for f in files if f["config"] == config and f["split"] == split]
        if sum(f["rows"] for f in mine):
            found[split] = mine
    return found


def _config(name: str, splits: dict[str, Files]) -> dict[str, Any]:
    paths = {split: [f["file"] for f in files] for split, files in splits.items()}
    data_files = [{"split": split, "path": path} for split, path in paths.items()]
    return {"config_name": name, "data_files": data_files}


def _info(name: str, splits: dict[str, Files], schema: pa.Schema) -> dict[str, Any]:
    from datasets import Features

    sizes = []
    for split, files in splits.items():
        nbytes = sum(f["bytes"] for f in files)
        rows = sum(f["rows"] for f in files)
        sizes.append({"name": split, "num_bytes": nbytes, "num_examples": rows})
    # Private, but the only thing that writes what `load_dataset` reads back without guessing types.
    features = Features.from_arrow_schema(schema)._to_yaml_list()
    return {"config_name": name, "features": features, "splits": sizes}


def _shown(info: dict[str, Any]) -> dict[str, Any]:
    """A config as the templates show it."""
    nbytes = sum(split["num_bytes"] for split in info["splits"])
    return {
        "config": info["config_name"],
        "splits": {split["name"]: split["num_examples"] for split in info["splits"]},
        "bytes": bytes_text(nbytes),
    }


def keys(repo_id: str, licence: str | None, facts: dict[str, Any]) -> dict[str, Any]:
    """The YAML that a published card begins with; a person's own keys come before these."""
    column = facts["licence_column"]
    found: dict[str, Any] = {}
    if licence:
        found["license"] = licence
    elif column:
        found |= {"license": "other", "license_name": f"see-column-{column}"}
    name = repo_id.split("/")[-1].replace("-", " ").replace("_", " ")
    found["pretty_name"] = name[:1].upper() + name[1:]
    if facts["class_count"]:
        found["task_categories"] = ["image-classification"]
    found["tags"] = ["image", "imgprep"]
    found["size_categories"] = [size_category(facts["pictures"])]
    return found


def latest(ours: str, theirs: str, last: str) -> str:
    """The card with the person's latest words: the folder's, or the one on the Hub.

    last: what was published last, after which both said the same. ValueError when both were edited since.
    """
    mine, hub, before = ((own_text(text), _own_keys_only(text)) for text in (ours, theirs, last))
    nothing: tuple[Any, Any] = ("", ""), {}
    if theirs and mine in (before, nothing):  # nothing at all: the folder's card was made anew
        return theirs
    if not theirs or hub in (before, mine):
        return ours
    told = "README.md and the card on the Hub were both edited"
    raise ValueError(f"{told}: put the words of one into the other first")


def adopt(text: str, words: str) -> str:
    """The card `text` with what a person wrote in the card `words`."""
    above, below = own_text(words)
    head, _, rest = text.partition(BEGIN)
    derived = {k: v for k, v in own_keys(head).items() if k in DERIVED}
    ours = rest.partition(END)[0].strip()
    return _joined(_own_keys_only(words) | derived, above or TITLE, ours, below)


def is_ours(text: str) -> bool:
    """Whether this card was begun by imgprep."""
    return BEGIN in text


def damage(text: str, files: Files) -> str:
    """What is wrong with a card of these files, as the end of a sentence; "" where a person may have written it so."""
    if not text:
        return "is missing"
    # A card that ends within our part was cut; one without our marks is a person's own.
    cut = BEGIN in text and END not in text
    if cut or not _readable_text(text):
        return "is damaged"
    known = {f["file"] for f in files}
    other = sorted(_files_listed(text) - known)
    return f"lists {other[0]}, and the manifest does not" if other else ""


def _readable_text(text: str) -> str:
    """The card; "" where it is zeros, or ends in its YAML: nobody wrote it so."""
    head = _plain_lines(text)
    is_cut = head.startswith("---\n") and not re.search(r"^---$", head[4:], flags=re.M)
    return "" if "\0" in text or is_cut else text


def _files_listed(text: str) -> set[str]:
    """The data files that a card names."""
    found: set[str] = set()
    for config in own_keys(text).get("configs") or []:
        for split in config.get("data_files") or []:
            found.update(split.get("path") or [])
    return found


def own_text(text: str) -> tuple[str, str]:
    """What a person wrote above and below our marks; "" where there is nothing but the heading we gave.

    >>> own_text(f"---\\na: 1\\n---\\n\\n# Cats\\n\\n{BEGIN}\\nours\\n{END}\\n\\nWrite to me.\\n")
    ('# Cats', 'Write to me.')
    """
    text = _plain_lines(text)
    # With MULTILINE and non-greedy: a line of three dashes further down is a rule of Markdown.
    body = re.sub(r"\A---\n.*?^---$", "", text, count=1, flags=re.S | re.M)
    head, _, rest = body.partition(BEGIN)
    above = head.strip()
    below = rest.partition(END)[2].strip()
    return "" if above == TITLE else above, below


def own_keys(text: str) -> dict[str, Any]:
    """The YAML of a card. ValueError when it cannot be read."""
    found = re.match(r"---\n(.*?)^---$", _plain_lines(text), flags=re.S | re.M)
    try:
        keys = yaml.load(found[1], _CardLoader) if found else {}
    except yaml.YAMLError as e:
        why = " ".join(str(e).split())
        raise ValueError(f"the YAML at the head of README.md cannot be read: {why}") from None
    return keys if isinstance(keys, dict) else {}


class _CardLoader(yaml.SafeLoader):
    """YAML as cards mean it: `no` is Norwegian, not false. Only true and false are booleans."""


BOOLEAN = "tag:yaml.org,2002:bool"
# PyYAML is YAML 1.1, where `no`, `on` and `off` are false; the Hub reads 1.2.
_CardLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != BOOLEAN]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_CardLoader.add_implicit_resolver(BOOLEAN, re.compile("^(?i:true|false)$"), [*"tTfF"])


def _plain_lines(text: str) -> str:
    """The card without what editors add: a mark of byte order, CRLF, spaces behind the marks."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"^---[ \t]+$", "---", text, flags=re.M)


def _own_keys_only(text: str) -> dict[str, Any]:
    """Those of the keys that a person gave, or publishing did."""
    return {k: v for k, v in own_keys(text).items() if k not in DERIVED}


def size_category(rows: int) -> str:
    """The Hub's word for so many rows.

    >>> size_category(999), size_category(1000), size_category(2_000_000)
    ('n<1K', '1K<n<10K', '1M<n<10M')
    """
    return CATEGORIES[sum(rows >= 10**n for n in range(3, 10))]


def cell(value: Any) -> str:
    """Text of the data as it may stand in a table of Markdown: one line, no HTML, no links, no columns of its own.

    >>> cell("<b>a|b</b>")
    '&lt;b&gt;a\\\\|b&lt;/b&gt;'
    """
    # 80 characters: more makes a table that nobody reads.
    text = escape(" ".join(str(value).split())[:80], quote=False)
    return re.sub(r"([\\`*_{}\[\]|~!])", r"\\\1", text)


def _rows_by_split(rows: dict[str, int]) -> str:
    return ", ".join(f"{split} {n:,}" for split, n in rows.items())


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _joined(meta: dict[str, Any], above: str, ours: str, below: str) -> str:
    from huggingface_hub import DatasetCardData

    # original_order: the Hub's own tools keep it too,
    # so a card that goes back and forth stays the same.
    head = DatasetCardData(**meta).to_yaml(original_order=ORDER) + "\n" if meta else ""
    text = f"---\n{head}---\n\n{above}\n\n{BEGIN}\n\n{ours}\n\n{END}\n"
    return text + (f"\n{below}\n" if below else "")


def _template(name: str) -> jinja2.Template:
    return _templates().get_template(name)


@cache  # with what it has compiled
def _templates() -> jinja2.Environment:
    # Not autoescape: Markdown is no HTML; `cell` is for what comes out of the data.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgprep.dataset"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        num="{:,}".format,
        cell=cell,
        words=words,
        splits=_rows_by_split,
        pretty=_pretty,
    )
    return environment
