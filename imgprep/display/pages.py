"""How templates become pages: what a name says is escaped, and what is missing is an error."""

from pathlib import Path

import jinja2

OUR_POLICY = b"default-src 'none'"  # in the head of every page that we write
PAGE_HEAD_BYTES = 4_000


def page_environment() -> jinja2.Environment:
    """Jinja over templates/. A name of a row that looks like HTML is shown, never run."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("imgprep.display"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def check_page_place(path: Path) -> None:
    """ValueError where a file stands that is no page of ours, which a new one would replace."""
    try:
        with open(path, "rb") as file:
            head = file.read(PAGE_HEAD_BYTES)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: name a file in it") from None
    if head and OUR_POLICY not in head:
        raise ValueError(f"{path} is there already, and no page of imgprep: name another file")
