"""Keys, signatures, rates."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from imgprep.serve import access
from imgprep.serve.answers import Refusal

KEYS = access.read_keys(access.hashed_key("phone", "read", "r3ad") + "\n" + access.hashed_key("me", "write", "wr1te"))


def test_a_key_may_what_its_role_says():
    doors = access.Access(KEYS)
    assert doors.allow("Bearer r3ad", "read") == "phone" and doors.allow("bearer wr1te", "write") == "me"
    for header, role, status in (("Bearer r3ad", "write", 403), ("Bearer x", "read", 401), (None, "read", 401)):
        with pytest.raises(Refusal) as caught:
            doors.allow(header, role)
        assert caught.value.status == status
        assert "r3ad" not in str(caught.value)


def test_keys_are_kept_as_hashes_and_a_bad_line_is_not_shown():
    assert "r3ad" not in repr(KEYS)
    with pytest.raises(ValueError, match="line 2") as caught:
        access.read_keys(access.hashed_key("a", "read", "b") + "\nmy-secret-itself")
    assert "secret" not in str(caught.value)


def query(url):
    parts = urlsplit(url)
    return parts.path, dict(parse_qsl(parts.query))


def test_a_signed_address_holds_for_its_path_options_and_time():
    doors = access.Access([], secrets=["one"])
    path, given = query(doors.sign("/v1/objects/ab/fit", {"max_side": "100"}))
    assert doors.is_signed(path, given)
    assert not doors.is_signed(path, given | {"max_side": "101"})
    assert not doors.is_signed("/v1/objects/cd/fit", given)
    assert not doors.is_signed(path, given | {"expires": "99999999999"})
    assert not doors.is_signed(*query(doors.sign(path, {}, expires_s=-1)))


def test_secrets_rotate():
    path, given = query(access.Access([], secrets=["old"]).sign("/p", {}))
    assert access.Access([], secrets=["new", "old"]).is_signed(path, given)
    assert not access.Access([], secrets=["new"]).is_signed(path, given)
    assert not access.Access([], secrets=[]).is_signed(path, given)


def test_a_key_that_asks_too_often_is_told_when_to_come_back():
    doors = access.Access(KEYS, rate=2)
    for _ in range(4):
        doors.allow("Bearer r3ad", "read")
    with pytest.raises(Refusal) as caught:
        doors.allow("Bearer r3ad", "read")
    assert caught.value.status == 429 and caught.value.all_headers()["Retry-After"] == "1"
    doors.allow("Bearer wr1te", "read")  # another key has its own
