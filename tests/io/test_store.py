"""Facts about object stores: Azurite, moto's S3, a folder and memory behave alike, and each fault is a sentence."""

import contextlib
import hashlib
import json
import os
import pickle
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest
from conftest import AZURITE_KEY, azurite_connection

from imgprep import hashing, words
from imgprep.failures import RunStopped
from imgprep.io import stores
from imgprep.io.stores import Store, StoreError, kinds
from imgprep.io.stores.in_pieces import HELD_BYTES, get_file, put_file

pytestmark = pytest.mark.store
KINDS = ("az", "s3", "memory", "file")


@pytest.fixture
def fresh(request, s3, azurite, tmp_path):
    """A URI where nothing is yet."""
    name = f"t{uuid.uuid4().hex}"
    return str(tmp_path / name) if request.param == "file" else f"{request.param}://{name}/some/prefix"


@pytest.fixture
def opened(fresh):
    one = Store(fresh)
    one.ready()
    return one


@pytest.fixture
def admin(azurite):
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient.from_connection_string(azurite_connection(azurite))


def plain_get(url: str) -> tuple[int, bytes, dict]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as e:
        return e.code, b"", {}


@pytest.mark.parametrize("fresh", KINDS, indirect=True)
def test_a_file_goes_and_comes_in_pieces(opened, tmp_path):
    """Larger than two pieces, so that it is none of the sizes at which one request would do."""
    path, back = tmp_path / "film", tmp_path / "back"
    path.write_bytes(os.urandom(2 * HELD_BYTES + 5))
    sha256 = hashing.sha256_of(path)
    assert put_file(opened, "f/film", path, content_type="video/mp4", sha256=sha256)[0] == "uploaded"
    assert opened.find("f/film")["nbytes"] == path.stat().st_size
    assert get_file(opened, "f/film", back) == sha256 and back.read_bytes() == path.read_bytes()
    again = put_file(opened, "f/film", path, content_type="video/mp4", sha256=sha256)[0]
    assert again == ("uploaded" if opened.kind == "file" else "present")  # a folder keeps no hashes
    with pytest.raises(StoreError, match="there is no such object"):
        get_file(opened, "f/other", back)


@pytest.mark.parametrize("fresh", KINDS, indirect=True)
def test_what_is_put_is_found_once_and_other_bytes_replace_it(opened, fresh):
    assert not opened.list() and opened.find("a/1.png") is None
    stored, etag = opened.put("a/1.png", b"one", content_type="image/png")
    assert stored == "uploaded" and opened.put("a/1.png", b"one", content_type="image/png") == ("present", etag)
    assert opened.put("a/1.png", b"one", content_type="image/png") == ("present", etag), "found without a second PUT"
    opened.put("a/2.png", b"", content_type="image/png")
    opened.put("ab/3.png", b"three", content_type="image/png")
    assert sorted(opened.list()) == ["a/1.png", "a/2.png", "ab/3.png"] and len(opened.list("a")) == 2
    assert opened.put("a/1.png", b"two", content_type="image/png")[0] == "uploaded"
    assert opened.get("a/1.png") == b"two" and opened.find("a/1.png")["nbytes"] == 3
    other = pickle.loads(pickle.dumps(opened))
    assert other.uri == fresh and other.exists("a/1.png") and not other.is_public("a/1.png")
    other.delete("a/1.png")
    assert not opened.exists("a/1.png") and len(opened.list()) == 2
    with pytest.raises(StoreError, match="no such object"):
        opened.get("a/1.png")


@pytest.mark.parametrize("fresh", ["s3"], indirect=True)
def test_a_server_without_conditional_puts_is_looked_at_first(fresh, monkeypatch):
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")  # for servers that answer 501 to If-None-Match
    one = Store(fresh)
    one.ready()
    stored = [one.put("1", data, content_type="image/png")[0] for data in (b"one", b"one", b"two", b"two")]
    assert stored == ["uploaded", "present"] * 2 and one.get("1") == b"two"


@pytest.mark.parametrize("fresh", ("az", "s3"), indirect=True)
def test_an_object_has_its_type_and_hash_and_only_a_signature_opens_it(opened):
    opened.put("a/1.jpg", b"picture", content_type="image/jpeg")
    found = opened.find("a/1.jpg")
    assert found["sha256"] == hashlib.sha256(b"picture").hexdigest()
    assert (found["Content-Type"], found["Cache-Control"]) == ("image/jpeg", stores.FOREVER)
    (url,) = opened.sign(["a/1.jpg"], expires_s=60)
    status, body, headers = plain_get(url)
    assert (status, body, headers["content-type"]) == (200, b"picture", "image/jpeg")
    assert plain_get(url.partition("?")[0])[0] == 403
    change = urllib.request.Request(url, data=b"other", method="PUT", headers={"x-ms-blob-type": "BlockBlob"})
    if opened.kind == "az":  # moto does not look at signatures
        for wrong in (url.replace("1.jpg", "2.jpg"), url.replace("sp=r", "sp=rw"), url[:-5] + "AAAA%3D"):
            assert plain_get(wrong)[0] == 403
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(change)
        (short,) = opened.sign(["a/1.jpg"], expires_s=1)
        assert "sp=r&" in short.replace("?", "&") + "&"
    for wrong in (0, 604_801):
        with pytest.raises(ValueError, match="expires_s is 1 to 604,800"):
            opened.sign(["a/1.jpg"], expires_s=wrong)


@pytest.mark.parametrize("uri", ["az://UP", "az://ab", "az://a--b", "az://a_b", "az://" + "a" * 64, "s3://Bucket", "s3://a..b",
                                 "s3://10.0.0.1", "gs://google", "az://", "s3:///key"])  # fmt: skip
def test_a_name_that_the_service_refuses_is_told_before_anything_is_asked(uri):
    with pytest.raises(ValueError, match="is no name for a container or bucket: use 3 to 63"):
        Store(uri)


@pytest.mark.parametrize("uri", ["https://a.blob.core.windows.net/c?sig=hush", "az://c/p?sig=hush", "ftp://x/y",
                                 "s3://key:hush@bucket", "az://pictures/Präfix", "az://pictures/a b", "s3://bucket/a//b",
                                 "s3://bucket/../hush"])  # fmt: skip
def test_a_target_with_a_signature_is_refused_and_not_repeated(uri):
    with pytest.raises(ValueError, match="a store is az://container/prefix") as caught:
        Store(uri)
    assert "hush" not in str(caught.value)


def test_a_missing_container_is_created_private(azurite, s3, admin):
    import boto3

    name = f"t{uuid.uuid4().hex}"
    for kind in ("az", "s3"):
        Store(f"{kind}://{name}").ready()
        Store(f"{kind}://{name}").ready()
    assert admin.get_container_client(name).get_container_properties().public_access is None
    (grant,) = boto3.client("s3").get_bucket_acl(Bucket=name)["Grants"]
    assert grant["Grantee"]["Type"] == "CanonicalUser"


def test_a_container_that_another_run_makes_at_the_same_time_is_ready(s3, monkeypatch):
    import boto3

    one = Store(f"s3://t{uuid.uuid4().hex}")

    def mkdir(self, name: str) -> None:
        boto3.client("s3").create_bucket(Bucket=name)
        raise FileExistsError(name)

    monkeypatch.setattr("s3fs.S3FileSystem.mkdir", mkdir)
    one.ready()
    assert one.put("1", b"1", content_type="image/png")[0] == "uploaded"


def test_a_missing_container_that_may_not_be_created_is_a_sentence(azurite, s3, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas
    from fsspec.registry import _registry

    name, until = f"t{uuid.uuid4().hex}", datetime.now(UTC) + timedelta(hours=1)
    sas = generate_container_sas("devstoreaccount1", name, account_key=AZURITE_KEY, expiry=until,
                                 permission=ContainerSasPermissions.from_string("rwl"))  # fmt: skip
    endpoint = azurite_connection(azurite).partition("BlobEndpoint")[2]
    monkeypatch.setenv("MY_STORE", f"BlobEndpoint{endpoint}AccountName=devstoreaccount1;SharedAccessSignature={sas}")
    one = Store(f"az://{name}", "MY_STORE")
    missing = f"there is no az://{name}, and it cannot be created from here"
    assert told(StoreError, one, sas) == f"{missing}: make it, without public access"
    for kind, package, extra in (("az", "adlfs", "azure"), ("s3", "s3fs", "s3")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(_registry, kind, raising=False)
        assert told(StoreError, Store(f"{kind}://{name}")).endswith(f"it needs `{words.extra(extra)}`")


@pytest.mark.parametrize("level", ["container", "blob"])
@pytest.mark.parametrize("filled", [False, True])
def test_a_public_container_is_refused(admin, level, filled):
    name = f"t{uuid.uuid4().hex}"
    admin.create_container(name, public_access=level)
    if filled:
        admin.get_blob_client(name, "a/1").upload_blob(b"1")
    with pytest.raises(StoreError, match=f"anyone can read az://{name}"):
        Store(f"az://{name}").ready()


def test_a_bucket_whose_policy_lets_anyone_read_is_refused(s3):
    import boto3

    name, client = f"t{uuid.uuid4().hex}", boto3.client("s3")
    client.create_bucket(Bucket=name)
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    client.put_object(Bucket=name, Key="1", Body=b"1")
    with pytest.raises(StoreError, match="anyone can read"):
        Store(f"s3://{name}").ready()


# Credentials ---------------------------------------------------------------------------------------------------------


def told(kind: type, one: Store, secret: str = "hush") -> str:
    """What `ready` says: one sentence, without the secret."""
    with pytest.raises(kind) as caught:
        one.ready()
    text = str(caught.value)
    assert "\n" not in text and secret not in text and "<" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert len(caught.value._render_traceback_()) == 1
    return text


def test_wrong_azure_credentials_are_a_sentence(azurite, admin, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    name = f"t{uuid.uuid4().hex}"
    admin.create_container(name)
    Store(f"az://{name}").put("1", b"1", content_type="image/png")

    def given(text: str) -> Store:
        monkeypatch.setenv("MY_STORE", text)
        return Store(f"az://{name}", "MY_STORE")

    wrong = "hush" + AZURITE_KEY[4:]
    assert told(StoreError, given(azurite_connection(azurite, wrong)), wrong) == (
        f"az://{name} refuses these credentials: check MY_STORE")  # fmt: skip
    assert "refuses these credentials" in told(StoreError, given(azurite_connection(azurite, "hush")))
    assert "no credentials" in told(StoreError, given("hush"))
    endpoint = azurite_connection(azurite).partition("BlobEndpoint")[2]

    def signed(permission: str, hours: int) -> Store:
        until = datetime.now(UTC) + timedelta(hours=hours)
        sas = generate_container_sas("devstoreaccount1", name, account_key=AZURITE_KEY, expiry=until,
                                     permission=ContainerSasPermissions.from_string(permission))  # fmt: skip
        return given(f"BlobEndpoint{endpoint}AccountName=devstoreaccount1;SharedAccessSignature={sas}")

    assert "refuses these credentials" in told(StoreError, signed("rcwl", -1))
    may = signed("rcwl", 1)
    may.ready()
    assert may.put("2", b"2", content_type="image/png")[0] == "uploaded" and not may.is_public("2")
    with pytest.raises(StoreError):
        may.sign(["2"])  # it would be the signature of everything
    signed("c", 1).ready()  # may write, and not list
    with pytest.raises(StoreError, match="no permission in az"):
        signed("rl", 1).put("3", b"3", content_type="image/png")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    nothing = f"there are no credentials for az://{name}: set AZURE_STORAGE_CONNECTION_STRING"
    assert told(StoreError, Store(f"az://{name}")) == nothing
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{azurite}/devstoreaccount1")
    Store(f"az://{name}").ready()


@contextlib.contextmanager
def signatures_checked(url: str):
    """moto lets everyone in until it is told to look."""

    def look(count: bytes) -> None:
        ask = {"method": "POST", "headers": {"Content-Type": "text/plain"}}
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", data=count, **ask)).close()

    look(b"0")
    try:
        yield
    finally:
        look(b"inf")


def test_wrong_s3_credentials_are_a_sentence(s3, monkeypatch):
    import boto3

    name, iam = f"t{uuid.uuid4().hex}", boto3.client("iam", region_name="us-east-1")
    boto3.client("s3").create_bucket(Bucket=name)
    keys = {}
    for user, actions in {"writer": "s3:*", "reader": ["s3:Get*", "s3:List*"]}.items():
        iam.create_user(UserName=f"{user}{name}")
        keys[user] = iam.create_access_key(UserName=f"{user}{name}")["AccessKey"]
        allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=f"{user}{name}", PolicyName="p", PolicyDocument=json.dumps(allow))

    def given(user: str, secret: str = "") -> Store:
        key = keys.get(user, {"AccessKeyId": "AKIANOBODY", "SecretAccessKey": ""})
        monkeypatch.setenv("MY_STORE", f"{key['AccessKeyId']}:{secret or key['SecretAccessKey']}")
        return Store(f"s3://{name}", "MY_STORE")

    with signatures_checked(os.environ["AWS_ENDPOINT_URL"]):
        one = given("writer")
        assert one.put("1", b"1", content_type="image/png")[0] == "uploaded"
        refused = f"s3://{name} refuses these credentials: check MY_STORE"
        assert told(StoreError, given("writer", "hush")) == told(StoreError, given("nobody", "hush")) == refused
        reader = given("reader")
        with pytest.raises(StoreError, match="no permission in s3"):
            reader.put("2", b"2", content_type="image/png")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "hush")
        assert "has expired" in told(StoreError, given("writer"))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable)
    with pytest.raises(ValueError, match="credentials_env names an environment variable, and there is none"):
        Store("s3://bucket", "hush/secret")


def test_a_store_that_does_not_answer_is_no_mistake_of_the_user(monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MY_STORE", azurite_connection(nobody.getsockname()[1]))
        monkeypatch.setitem(stores.RETRIES, "max_retries", 1)
        assert "does not answer: run it again" in told(RunStopped, Store("az://pictures", "MY_STORE"), AZURITE_KEY)


def test_what_a_killed_put_left_in_a_folder_is_never_listed_and_swept(tmp_path):
    one = Store(str(tmp_path))
    one.put("a/1.png", b"one", content_type="image/png")
    for name, age_s in (("1.png#1", 7200), ("2.png#12", 7200), ("3.png#1", 0), ("draft#b.png", 7200)):
        half = tmp_path / "a" / name
        half.write_bytes(b"half")
        os.utime(half, (time.time() - age_s,) * 2)
    assert sorted(one.list()) == ["a/1.png", "a/draft#b.png"]
    one.ready()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["1.png", "3.png#1", "draft#b.png"]


def test_the_words_for_the_emulator_mean_its_published_account(azurite, monkeypatch):
    """As docs/how-to/without_a_cloud.md has it; here at another port."""
    short = "UseDevelopmentStorage=true"
    told = kinds.spelled_out(short)
    assert kinds.credentials("az", told) == {
        "account_name": "devstoreaccount1",
        "account_key": AZURITE_KEY,
        "endpoint": "http://127.0.0.1:10000/devstoreaccount1",
    }
    monkeypatch.setattr(kinds, "EMULATOR", told.replace("10000", str(azurite)))
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", short)
    store = Store(f"az://t{uuid.uuid4().hex[:20]}")
    store.ready()
    store.put("a.txt", b"here", content_type="text/plain")
    assert store.get("a.txt") == b"here"
