"""What of a text may be shown: one rule for everything that is written, printed or sent.

`redact` takes passwords, keys and signatures out of any text, `redact_url` out of one that is a
URL as a whole, `redact_column` out of a column of a table, `redact_values` out of what becomes
JSON. Data, cards, manifests, logs, notebooks, reports, request files and what the service says go
through one of them. What was hidden reads ***.

The rule would rather leave a doubtful text as it is than spoil a caption: a value is hidden where
its name says that it is secret, or where its form does (the keys of the usual services). What it
cannot know is a password in plain prose.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"

# In a URL

# user, password or token in front of the host.
LOGIN = re.compile(r"""([a-z][a-z0-9+.-]*:[/\\]{2,4}|(?<![\w:/\\])//)[^/\\?#\s"'<>]*@""", re.I)
SIGNED = re.compile(r"[?&](x-amz-signature|x-goog-signature|signature|sig)=", re.I)
# What belongs to a signature; only where there is one are `se`, `sp`, `policy` … such.
SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|sig|se|sp|sv|sr|ss|srt|st|spr|sip|skoid|sktid|skt|ske|sks|skv",
    re.I,
)
# Names whose value is a secret, whatever it is.
SECRET_NAME = re.compile(
    r"x-(amz|goog|oss|ms|bce|cos|tos)-.*"
    r"|.*(token|secret|signature|passw|passwd|password|passphrase|pwd|credentials?|apikey|jwt)"
    r"|.*(access|api|account|app|auth|client|consumer|private|secret|service|shared|signing"
    r"|storage|subscription|user)[^a-z0-9]*key"
    r"|.*(access|key)[^a-z0-9]?id|pass|hmac|sig",
    re.I,
)
# Names whose value may be one: it is where it looks like one.
DOUBTFUL_NAME = re.compile(
    r"(.*[^a-z])?(key|auth|authorization|bearer)|.*session(id)?|s?sid|sign", re.I
)
PARAMETER = re.compile(r"""([?&#;])([^=&#;?\s"'<>]{1,80})=([^&#;\s"'<>\\]*)""")
WHOLE_PARAMETER = re.compile(r"([?&#;])([^=&#;?]{1,80})=([^&#;]*)")
# Up to what ends a sentence or a quotation.
URL = re.compile(
    r"""(?:[a-z][a-z0-9+.-]*:[/\\]{2,4}|(?<![\w:/\\])//)[^\s"'<>“”]+?"""
    r"""(?=[.,;:!?)\]}”’]*(?:[\s"'<>]|$))""",
    re.I,
)
BEGINS_AS_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*:[/\\]", re.I)

# By its form

# Where a word begins; also behind what colours it in a traceback (ESC [ 31 m).
BEGINS = r"(?:\b|(?<=[0-9]m))"
KEY_FORMS = re.compile(
    BEGINS + r"(?:"
    r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}"
    r"|gl(?:pat|ptt|dt|rt|soat|cbt|ft|imt|agent|oas)-[\w-]{20,}"  # GitLab
    r"|sk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, OpenRouter
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"  # Stripe
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}"  # Slack
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"  # Google
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}|dop_v1_[a-f0-9]{64}"
    r"|r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{40,}|bot\d{8,10}:[\w-]{35}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"  # JSON web tokens
    r")"
    r"|(?<=hooks\.slack\.com/services/)[\w/]{20,}"
    r"|(?<=/api/webhooks/)\d+/[\w-]{20,}"  # Discord
    r"|-----BEGIN [A-Z ]*PRIVATE KEY(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)",
    re.S,
)

# By what stands before it; in JSON within JSON a backslash stands before every quotation mark

HEADER = re.compile(
    BEGINS + r"""((?:proxy-)?authorization\\*["']?\s*[:=]\s*\\*["']?"""
    r"""(?:(?:bearer|basic|token|digest)\s+|(?=\S{16}))"""
    r"""|(?:x-api-key|x-auth-token|api-key|x-amz-security-token)\\*["']?\s*:\s*\\*["']?)"""
    r"""(?!(?:bearer|basic|token|digest)\s)((?:[^\s"',;“”\\]|\\(?!["'])){3,})""",
    re.I,
)
COOKIE = re.compile(BEGINS + r"""((?:set-)?cookie["']?\s*:\s*["']?)(?=[\w.-]+=)[^"'\n“”]+""", re.I)
BEARER = re.compile(BEGINS + r"(bearer\s+)(?=\S*\d)[A-Za-z0-9._~+/=-]{16,}", re.I)
ASSIGNED = re.compile(
    r"""(["']?\b[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key"""
    r"""|secret[_-]?key|private[_-]?key|account[_-]?key|sharedaccesssignature)\\*["']?\s*"""
    r"""(?:=\s*\\*["']?|:\s*\\*["']))((?:[^\s"'“”&;,)}\]\\]|\\(?!["'])){4,})""",
    re.I,
)
TOLD_BY_NAME = (HEADER, COOKIE, BEARER)
SECRET_RULES = (LOGIN, SIGNATURE, SECRET_NAME, DOUBTFUL_NAME, KEY_FORMS, *TOLD_BY_NAME, ASSIGNED)
# What a program says of a secret without telling it.
PLAIN_VALUE = re.compile(r"\d{1,6}|true|false|none|null|\.{3}|…|\*+.*", re.I)

# A text without any of these holds no secret. RE2, so that Arrow can look for it, too.
HINT = (
    r"(?i)[/\\]{2}[^/\\?#\s]*@"
    r"|[?&#;][^=&#;]{0,80}(token|secret|sig|pass|pwd|cred|auth|key|session|sid|jwt|hmac|bearer"
    r"|x-|%)[^=&#;]{0,80}=|%40"
    r"|authorization|bearer|cookie|-key|token|secret|passw|pwd|passphrase|api_?key|accesskey"
    r"|access_key|accountkey|signature|private.?key"
    r"|hf_|api_org_|akia|asia[0-9a-z]{16}|abia|acca|gh[pousr]_|github_pat_|gl[a-z]+-|sk-|k_live_"
    r"|k_test_|whsec_|xox|xapp-|aiza|ya29\.|gocspx|sg\.|npm_|pypi-|dop_v1_|r8_|gsk_|bot\d|eyj"
    r"|hooks\.slack|webhooks"
)
HINTED = re.compile(HINT)


def redact(text: str) -> str:
    """Any text as it may be shown.

    >>> redact("cannot read https://me:pw@example.org/1.jpg?w=200&token=1, try again")
    'cannot read https://example.org/1.jpg?w=200&token=***, try again'
    >>> redact("Authorization: Bearer abc.def"), redact("monkeys=3")
    ('Authorization: Bearer ***', 'monkeys=3')
    """
    if not HINTED.search(text):
        return text
    text = URL.sub(lambda match: _redacted_url(match[0], PARAMETER), text)
    return _redacted_words(text)


def redact_url(url: str) -> str:
    """A text that is one URL: without user and password, *** for what signs or is a key.

    Also where it has spaces in it, as cells of tables do.

    >>> redact_url("https://me:pw@example.org/1.jpg?w=200&X-Amz-Signature=abc&token=1")
    'https://example.org/1.jpg?w=200&X-Amz-Signature=***&token=***'
    """
    if not BEGINS_AS_URL.match(url):
        return redact(url)
    if not HINTED.search(url):
        return url
    return _redacted_words(_redacted_url(url, WHOLE_PARAMETER))


def redact_values(value: Any) -> Any:
    """What is to become JSON: all texts in dicts and lists redacted, also under secret names."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _under(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def redact_column(column: Any) -> Any:
    """A column of a pyarrow table: its texts redacted, however deep; others stay as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    whole = column.combine_chunks()
    if not any(pc.any(hinted(texts)).as_py() for texts in texts_of(whole)):
        return column
    if not _is_text(kind):
        cells = [_redact_cell(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, kind)])
    mask = hinted(whole)
    cells = [_redact_cell(cell) for cell in whole.filter(mask).to_pylist()]
    shown = pc.replace_with_mask(whole, mask, pa.array(cells, kind))
    return pa.chunked_array([shown])


def texts_of(array: Any) -> Iterator[Any]:
    """The arrays of text in a pyarrow array, however deep."""
    import pyarrow as pa

    if _is_text(array.type):
        yield array
    elif pa.types.is_dictionary(array.type):
        yield from texts_of(array.dictionary)
    elif pa.types.is_nested(array.type):
        inside = array.flatten()
        for child in inside if isinstance(inside, list) else [inside]:
            yield from texts_of(child)


def hinted(texts: Any) -> Any:
    """Which texts of a pyarrow array may hold a secret: a mask without nulls."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.match_substring_regex(texts, HINT), False)


def secret_in(text: str) -> tuple[str, int] | None:
    """What kind of secret a text holds first, and where it begins; None for none.

    The kinds are "secrets" and "signed URLs" (also those with a password or a token).

    >>> secret_in("see https://me:pw@example.org/"), secret_in("see https://example.org/")
    (('signed URLs', 4), None)
    """
    found = []
    for match in URL.finditer(text):
        if _redacted_url(match[0], PARAMETER) != match[0]:
            found.append((match.start(), "signed URLs"))
            break
    for pattern in (KEY_FORMS, *TOLD_BY_NAME, ASSIGNED):
        for match in pattern.finditer(text):
            if _redacted_words(match[0]) != match[0]:
                found.append((match.start(), "secrets"))
                break
    if not found and redact_url(text) != text:  # a URL with spaces in it
        found.append((0, "signed URLs"))
    if not found:
        return None
    at, kind = min(found)
    return kind, at


def holds_secret(text: str) -> bool:
    """Whether something of a text must not be shown."""
    return redact_url(text) != text


def _redact_cell(value: Any) -> Any:
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, dict):
        return {key: _redact_cell(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_cell(item) for item in value]
    return value


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string")


def _under(name: str, value: Any) -> Any:
    """A value that has a name."""
    is_told = isinstance(value, str) and not name.endswith("_env")
    if is_told and SECRET_NAME.fullmatch(name) and not PLAIN_VALUE.fullmatch(value):
        return HIDDEN if value else value
    return redact_values(value)


def _redacted_url(url: str, parameter: re.Pattern[str]) -> str:
    is_signed = SIGNED.search(url) is not None
    url = LOGIN.sub(r"\1", url)
    return parameter.sub(_hider(is_signed), url)


def _hider(is_signed: bool) -> Callable[[re.Match[str]], str]:
    """What to put for a parameter of a URL."""

    def shown(match: re.Match[str]) -> str:
        mark, name, value = match.groups()
        is_told = value and not value.startswith(HIDDEN)
        if is_told and _is_secret(unquote(name), value, is_signed):
            return f"{mark}{name}={HIDDEN}"
        return match[0]

    return shown


def _is_secret(name: str, value: str, is_signed: bool) -> bool:
    if SECRET_NAME.fullmatch(name) or (is_signed and SIGNATURE.fullmatch(name)):
        return True
    if DOUBTFUL_NAME.fullmatch(name):
        has_both = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
        return bool(has_both) or len(value) >= 16
    if "%" not in value:
        return False
    plain = unquote(value)  # a URL in a URL
    return plain != value and redact(plain) != plain


def _redacted_words(text: str) -> str:
    text = KEY_FORMS.sub(HIDDEN, text)
    for pattern in TOLD_BY_NAME:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return ASSIGNED.sub(_assigned, text)


def _assigned(match: re.Match[str]) -> str:
    if PLAIN_VALUE.fullmatch(match[2]):
        return match[0]
    return f"{match[1]}{HIDDEN}"
