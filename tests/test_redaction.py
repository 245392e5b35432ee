"""One rule for secrets: forms that must be hidden, and texts that must stay as they are."""

import pyarrow as pa
import pytest
from secret_forms import FORMS, HUSH

from imgprep.redaction import holds_secret, redact, redact_column, redact_url, redact_values

HARMLESS = [
    "",
    "not a url",
    "me@b.c",
    "key=1&token=2",
    "the key to success: work",
    "risk-averse and task-oriented-as-ever-before",
    "https://shop.example/x?key=1",
    "https://shop.example/x?key=products",
    "https://a.example/?to=me@b.c",
    "https://medium.example/@author/1.jpg?author=eve&monkeys=3&design=old",
    "https://a.example/x?st=paul&se=2&sp=1&expires=1&policy=none",
    "https://h.example:8080/path/@user/1.jpg",
    "C:\\pictures\\cat.jpg",
    "max_tokens=512, token=True, secret=None",
    "name the variable: token_env='HF_TOKEN'",
    "//cdn.example.org/1.jpg",
    "Password: ______  Forgot your password?",
    "a bearer of good news",
    "Cookie: chocolate chip, 12 pieces",
    "Authorization: pending",
    "https://zoo.example/?monkey=george7",
    "https://a.example/?sig=*** hf_short",
    "set AWS_SECRET_ACCESS_KEY in the environment",
    "data:image/webp;base64,UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_hidden_alone_and_in_a_sentence(text):
    for shown in (redact(text), redact_url(text), redact(f"at 12:30, “{text}” cannot be read")):
        assert "Hu5hHu5h" not in shown and "AKIAIOSF" not in shown
        assert redact(shown) == shown, "hidden once is hidden"
    assert holds_secret(text) and not holds_secret(redact_url(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_stays(text):
    assert redact(text) == redact_url(text) == text and not holds_secret(text)
    sentence = f"at 12:30, “{text}” cannot be read"
    assert redact(sentence) == sentence


def test_all_around_a_secret_stays():
    url = (
        "https://me:s1@b.example/1.jpg?X-Amz-Credential=s2&X-Amz-Signature=s3"
        "&w=200&sp=s4&api_key=s5&access_token=s6#key=s7"
    )
    shown = (
        "https://b.example/1.jpg?X-Amz-Credential=***&X-Amz-Signature=***"
        "&w=200&sp=***&api_key=***&access_token=***#key=***"
    )
    assert redact_url(url) == shown and redact(f"{url} is gone") == f"{shown} is gone"
    assert redact_url("https://a.example/x?%73ig=s1&se=s2") == "https://a.example/x?%73ig=***&se=s2"
    assert redact_url("https://a.example/x?token=a b&w=1") == "https://a.example/x?token=***&w=1"
    assert redact(f"AccountName=a;AccountKey={HUSH}==;Suffix=e") == (
        "AccountName=a;AccountKey=***;Suffix=e"
    )
    html = "<a href='https://me:pw@h/1.jpg?w=1&amp;token=abc&amp;v=2'>x</a>"
    assert redact(html) == "<a href='https://h/1.jpg?w=1&amp;token=***&amp;v=2'>x</a>"


def test_a_column_is_redacted_however_deep():
    url, shown = f"https://h/1.jpg?token={HUSH}", "https://h/1.jpg?token=***"
    texts = pa.chunked_array([["a", url], [None, "b"]])
    assert redact_column(texts).to_pylist() == ["a", shown, None, "b"]
    plain = pa.chunked_array([["a", "https://h/1.jpg"]])
    assert redact_column(plain) is plain
    numbers = pa.chunked_array([[1, 2]])
    assert redact_column(numbers) is numbers
    lists = pa.chunked_array([[[url, "a"], None, []]])
    assert redact_column(lists).to_pylist() == [[shown, "a"], None, []]
    structs = pa.chunked_array([[{"u": [url], "n": 1}, None]])
    assert redact_column(structs).to_pylist() == [{"u": [shown], "n": 1}, None]
    assert redact_column(structs).type == structs.type
    words = pa.chunked_array([pa.array([url, "a", url]).dictionary_encode()])
    assert redact_column(words).to_pylist() == [shown, "a", shown]
    large = pa.chunked_array([pa.array([url], pa.large_string())])
    assert redact_column(large).type == pa.large_string()


def test_values_are_redacted_by_their_names_too():
    said = {"url": f"https://me:{HUSH}@h/", "password": HUSH, "token_env": "HF_TOKEN", "n": [1, HUSH]}
    shown = {"url": "https://h/", "password": "***", "token_env": "HF_TOKEN", "n": [1, HUSH]}
    assert redact_values(said) == shown
    assert redact_values({"token": None, "secret": "", "max_tokens": 5}) == {
        "token": None,
        "secret": "",
        "max_tokens": 5,
    }
