"""How templates become pages: what a name says is escaped, and what is missing is an error."""

import jinja2


def page_environment() -> jinja2.Environment:
    """Jinja over templates/. A name of a row that looks like HTML is shown, never run."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("imgprep.display"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
