"""A Hugging Face Hub for tests without internet: repositories on disk, for the unmodified huggingface_hub and datasets.

    python tests/servers/hub_server.py --root DIR        # prints its address
    HF_ENDPOINT=address HF_TOKEN=hf_write HF_HOME=DIR/home python ...

It speaks what the clients ask for to create, fill, list and read data set repositories: commits, branches, tags, pull
requests, "regular" files, Git LFS, and a Xet store (xorbs, shards, reconstruction). It is not the Hub: no viewer, no
scans, no limits; quotas and failures are asked for with `faults`. POST to /__stub__/stats, /reset, /faults, /repo is
for tests. Tokens: hf_write (alice, of acme), hf_read (bob, may only read), hf_fine (carol, may write carol/mine).
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import struct
import tempfile
import threading
import time
import traceback
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import hf_xet
import yaml

LFS_EXT = (".7z .arrow .bin .bz2 .ckpt .gz .h5 .joblib .lance .lz4 .mp4 .webm .mds .npy .npz .onnx .parquet .pickle "
           ".pkl .pt .pth .rar .safetensors .tar .tgz .wasm .xz .zip .zst .flac .mp3 .ogg .wav .bmp .gif .png .tiff "
           ".jpg .jpeg .webp").split()
REGULAR_MAX = 10 * 1024 * 1024
TOKENS = {
    "hf_write": {"name": "alice", "orgs": ["acme"], "role": "write"},
    "hf_read": {"name": "bob", "orgs": [], "role": "read"},
    "hf_fine": {"name": "carol", "orgs": [], "role": "fineGrained", "repos": ["carol/mine"]},
}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HttpError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def write_atomic(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, tmp = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(fd, "wb") as f:
        f.write(data)
    os.replace(tmp, path)


class Store:
    """Repositories and blobs on disk; every commit keeps its full tree, so reads need no history walk."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.lock = threading.RLock()
        for d in ("repos", "blobs", "lfs", "commits", "cas/xorbs", "cas/files", "cas/sha256"):
            (self.root / d).mkdir(parents=True, exist_ok=True)

    def _path(self, rtype: str, rid: str) -> Path:
        if rtype != "datasets" or not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", rid) or ".." in rid:
            raise HttpError(400, f"Invalid repo name {rid!r}")
        return self.root / "repos" / rtype / (rid.replace("/", "--") + ".json")

    def load(self, rtype, rid) -> dict | None:
        p = self._path(rtype, rid)
        return json.loads(p.read_text()) if p.exists() else None

    def save(self, rtype, rid, state):
        write_atomic(self._path(rtype, rid), json.dumps(state).encode())

    def commit_obj(self, oid: str) -> dict:
        return json.loads((self.root / "commits" / oid).read_text())

    def new_commit(self, tree, parent, title, message, author) -> str:
        obj = {"tree": tree, "parent": parent, "title": title, "message": message, "author": author, "date": now(),
               "nonce": time.time_ns()}
        data = json.dumps(obj, sort_keys=True).encode()
        oid = hashlib.sha1(data).hexdigest()
        write_atomic(self.root / "commits" / oid, data)
        return oid

    def put_blob(self, data: bytes) -> str:
        oid = git_sha1(data)
        p = self.root / "blobs" / oid
        if not p.exists():
            write_atomic(p, data)
        return oid

    def create(self, rtype, rid, private, author):
        with self.lock:
            if self.load(rtype, rid):
                return False
            attrs = "".join(f"*{e} filter=lfs diff=lfs merge=lfs -text\n" for e in LFS_EXT).encode()
            tree = {".gitattributes": {"size": len(attrs), "oid": self.put_blob(attrs)}}
            head = self.new_commit(tree, None, "initial commit", "", author)
            self.save(rtype, rid, {"id": rid, "private": private, "gated": False, "granted": [], "created": now(),
                                   "refs": {"refs/heads/main": head}, "discussions": []})
            return True

    def resolve(self, state, rev: str) -> str:
        for ref in (rev, f"refs/heads/{rev}", f"refs/tags/{rev}"):
            if ref in state["refs"]:
                return state["refs"][ref]
        if re.fullmatch(r"[0-9a-f]{7,40}", rev):
            for head in set(state["refs"].values()):  # any ancestor of any ref
                oid = head
                while oid:
                    if oid.startswith(rev):
                        return oid
                    oid = self.commit_obj(oid)["parent"]
        raise HttpError(404, f"Invalid rev id: {rev}", "RevisionNotFound")

    @staticmethod
    def ref_name(rev: str) -> str:
        return rev if rev.startswith("refs/") else f"refs/heads/{rev}"


def hex_of(h: bytes) -> str:
    return "".join(h[i:i + 8][::-1].hex() for i in range(0, 32, 8))


class Cas:
    def __init__(self, store: Store):
        self.s, self.root = store, store.root / "cas"

    def put_xorb(self, name: str, body: bytes) -> bool:
        p = self.root / "xorbs" / name
        if p.exists():
            return False
        write_atomic(p, body)
        return True

    def xorb_offsets(self, name: str) -> list[tuple[int, int, int]]:
        """[(start, end_exclusive, uncompressed)] for each chunk: 8-byte headers, no decompression needed."""
        out, data = [], (self.root / "xorbs" / name).read_bytes()
        pos = 0
        while pos + 8 <= len(data) and data[pos] == 0:
            comp = int.from_bytes(data[pos + 1:pos + 4], "little")
            raw = int.from_bytes(data[pos + 5:pos + 8], "little")
            out.append((pos, pos + 8 + comp, raw))
            pos += 8 + comp
        return out

    def put_shard(self, body: bytes) -> int:
        pos, END = 48, b"\xff" * 32
        files = {}
        while body[pos:pos + 32] != END:
            fhash = hex_of(body[pos:pos + 32])
            flags, n = struct.unpack_from("<II", body, pos + 32)
            pos += 48
            terms = []
            for _ in range(n):
                _f, size, a, b = struct.unpack_from("<IIII", body, pos + 32)
                term = {"hash": hex_of(body[pos:pos + 32]), "unpacked_length": size}
                terms.append({**term, "range": {"start": a, "end": b}})
                pos += 48
            if flags & 0x80000000:
                pos += 48 * n
            sha = None
            if flags & 0x40000000:
                sha = hex_of(body[pos:pos + 32])
                pos += 48
            files[fhash] = (terms, sha)
        for terms, _ in files.values():
            for t in terms:
                if not (self.root / "xorbs" / t["hash"]).exists():
                    raise HttpError(400, f"shard refers to unknown xorb {t['hash']}")
        for fhash, (terms, sha) in files.items():
            info = {"terms": terms, "size": sum(t["unpacked_length"] for t in terms), "sha256": sha}
            write_atomic(self.root / "files" / fhash, json.dumps(info).encode())
            if sha:
                write_atomic(self.root / "sha256" / sha, fhash.encode())
        return len(files)

    def file_info(self, fhash: str) -> dict:
        p = self.root / "files" / fhash
        if not p.exists():
            raise HttpError(404, f"unknown file {fhash}")
        return json.loads(p.read_text())

    def reconstruction(self, fhash: str, rng: tuple[int, int | None] | None, base: str, v2: bool) -> dict:
        info = self.file_info(fhash)
        start, end = 0, info["size"]
        if rng:
            start, end = rng[0], min(info["size"], (rng[1] if rng[1] is not None else info["size"] - 1) + 1)
            if start >= info["size"]:
                raise HttpError(416, "range out of file")
        terms, pos, first = [], 0, None
        for t in info["terms"]:
            if pos < end and pos + t["unpacked_length"] > start:
                first = pos if first is None else first
                terms.append(t)
            pos += t["unpacked_length"]
        need: dict[str, list] = {}
        for t in terms:
            need.setdefault(t["hash"], []).append((t["range"]["start"], t["range"]["end"]))
        out = {}
        for xorb, ranges in need.items():
            offs, merged = self.xorb_offsets(xorb), []
            for a, b in sorted(ranges):
                if merged and a <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
                else:
                    merged.append((a, b))
            url = f"{base}/cas/data/{xorb}"
            rs = [
                {"chunks": {"start": a, "end": b}, "bytes": {"start": offs[a][0], "end": offs[b - 1][1] - 1}}
                for a, b in merged
            ]
            if v2:
                out[xorb] = [{"url": url, "ranges": rs}]
            else:
                out[xorb] = [{"url": url, "range": r["chunks"], "url_range": r["bytes"]} for r in rs]
        return {"offset_into_first_range": start - (first or 0), "terms": terms, ("xorbs" if v2 else "fetch_info"): out}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, fmt, *args):
        pass

    # -- plumbing
    def body(self) -> bytes:
        if self._body is None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while True:
                    n = int(self.rfile.readline().split(b";")[0], 16)
                    parts.append(self.rfile.read(n))
                    self.rfile.readline()
                    if n == 0:
                        break
                self._body = b"".join(parts)
            else:
                self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return self._body

    def send(self, status=200, data: bytes = b"", headers=None, ctype="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", ctype)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, obj, status=200, headers=None):
        self.send(status, json.dumps(obj).encode(), headers)

    def fail(self, e: HttpError):
        h = {"X-Error-Message": e.message.replace("\n", " ")}
        if e.code:
            h["X-Error-Code"] = e.code
        self.json({"error": e.message}, e.status, h)

    def handle_one(self):
        self._body = None
        srv = self.server
        u = urlsplit(self.path)
        self.q = {k: v for k, v in parse_qs(u.query, keep_blank_values=True).items()}
        self.seg = [unquote(x) for x in u.path.split("/")[1:]]
        self.route = re.sub(r"[0-9a-f]{40,64}", "{hash}", u.path)
        try:
            fault = srv.take_fault(self.command, u.path)
            body = self.body()
            srv.count(self.command, self.route, len(body))
            if fault:
                with srv.mx:
                    srv.waiting += bool(fault.get("delay"))
                time.sleep(fault.get("delay", 0))
                if fault.get("drop"):
                    if fault.get("late"):  # it is done, and nobody hears of it
                        self.wfile = io.BytesIO()
                        self.dispatch()
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault.get("status"):
                    said = {"error": fault.get("message", "injected fault")}
                    return self.send(fault["status"], json.dumps(said).encode(), fault.get("headers"))
            self.dispatch()
        except HttpError as e:
            self.fail(e)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception as e:  # a bug here must be seen by the test, not hang the client
            traceback.print_exc()
            try:
                self.json({"error": f"stub bug: {e!r}"}, 500)
            except Exception:
                self.close_connection = True

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_one

    # -- auth
    def user(self, required=False) -> dict | None:
        auth = self.headers.get("Authorization") or ""
        if not auth.startswith("Bearer "):
            if required:
                raise HttpError(401, "Invalid username or password.")
            return None
        u = self.server.tokens.get(auth[7:])
        if u is None:
            raise HttpError(401, "Invalid credentials in Authorization header")
        return u

    def access_token(self, u: dict) -> dict:
        scoped = [
            {"entity": {"type": "dataset", "name": r, "_id": "1"}, "permissions": ["repo.content.read", "repo.write"]}
            for r in u.get("repos", [])
        ]
        fine = {"fineGrained": {"global": [], "scoped": scoped}} if "repos" in u else {}
        return {"displayName": "stub", "role": u["role"], **fine}

    def writer(self, ns: str) -> dict:
        u = self.user(required=True)
        if u["role"] == "read":
            raise HttpError(403, "Forbidden: you must use a write token to upload to a repository.")
        if ns not in (u["name"], *u["orgs"]):
            raise HttpError(403, f'You don\'t have the rights to create or write a repo under the namespace "{ns}"')
        return u

    def repo(self, rtype, rid, write=False, content=True) -> dict:
        ns = rid.split("/")[0]
        state = self.server.store.load(rtype, rid)
        u = self.user()
        may_see = state and (not state["private"] or (u and ns in (u["name"], *u["orgs"])))
        if not may_see:
            raise HttpError(404 if u else 401, "Repository not found", "RepoNotFound")
        if write:
            self.writer(ns)
        elif content and state["gated"]:
            if not u:
                raise HttpError(401, f"Access to dataset {rid} is restricted. You must have access to it and be "
                                     f"authenticated to access it. Please log in.", "GatedRepo")
            if u["name"] not in state["granted"] and ns not in (u["name"], *u["orgs"]):
                raise HttpError(403, f"Access to dataset {rid} is restricted and you are not in the authorized list. "
                                     f"Visit {self.server.url}/{rtype}/{rid} to ask for access.", "GatedRepo")
        return state

    # -- dispatch
    def dispatch(self):
        s, m = self.seg, self.command
        if s[0] == "__stub__":
            return self.control(s[1:])
        if s[0] == "cas":
            return self.cas(s[1:])
        if s[0] == "lfs":
            return self.lfs_data(s[1:])
        if s[0] == "api":
            return self.api(s[1:])
        rtype, rest = s[0], s[1:]
        joined = "/".join(rest)
        mm = re.match(r"(.+?)\.git/info/lfs/objects/(batch|verify)$", joined)
        if mm:
            return self.lfs_batch(rtype, mm[1]) if mm[2] == "batch" else self.json({})
        if "resolve" in rest:
            i = rest.index("resolve")
            rid, rev, path = "/".join(rest[:i]), rest[i + 1], "/".join(rest[i + 2:])
            return self.resolve_file(rtype, rid, rev, path)
        raise HttpError(404, f"not implemented by the stub: {m} {self.path}")

    # -- /api
    def api(self, s):
        st, m = self.server.store, self.command
        if s == ["whoami-v2"]:
            u = self.user(required=True)
            return self.json({"type": "user", "id": "u-" + u["name"], "name": u["name"], "fullname": u["name"],
                              "email": u["name"] + "@example.org", "emailVerified": True, "isPro": False,
                              "canPay": False, "avatarUrl": "",
                              "orgs": [{"type": "org", "name": o, "roleInOrg": "write"} for o in u["orgs"]],
                              "auth": {"type": "access_token", "accessToken": self.access_token(u)}})
        if s == ["validate-yaml"]:
            return self.validate_yaml(json.loads(self.body())["content"])
        if s[:1] == ["repos"]:
            d = json.loads(self.body())
            rtype = (d.get("type") or "model") + "s"
            ns = d.get("organization") or self.user(required=True)["name"]
            rid = d["name"] if "/" in d["name"] else f"{ns}/{d['name']}"
            u = self.writer(rid.split("/")[0])
            url = f"{self.server.url}/datasets/{rid}"
            if s[1] == "create":
                private = d.get("private") or d.get("visibility") == "private"
                ok = st.create(rtype, rid, bool(private), u["name"])
                if not ok:
                    said = "You already created this dataset repo"
                    again = {"error": said, "url": url, "name": rid, "id": rid}
                    return self.json(again, 409, {"X-Error-Message": said})
                return self.json({"url": url, "name": rid, "id": rid})
        if s[0] == "datasets":
            rtype = s[0]
            verbs = ("revision", "tree", "paths-info", "preupload", "commit", "commits", "refs", "branch", "tag",
                     "discussions", "xet-read-token", "xet-write-token", "auth-check")
            i = next((k for k in range(2, min(len(s), 4)) if s[k] in verbs), len(s))
            rid, verb, arg = "/".join(s[1:i]), (s[i] if i < len(s) else None), s[i + 1:]
            if not rid:
                return self.json([])
            return self.repo_api(rtype, rid, verb, arg)
        raise HttpError(404, f"not implemented by the stub: {m} {self.path}")

    def repo_api(self, rtype, rid, verb, arg):
        st, m = self.server.store, self.command
        if verb in (None, "revision") and m == "GET":
            state = self.repo(rtype, rid, content=False)
            return self.json(self.info(rtype, state, arg[0] if arg else "main"))
        if verb == "auth-check":
            self.repo(rtype, rid)
            return self.json({})
        if verb in ("xet-read-token", "xet-write-token"):
            self.repo(rtype, rid, write=verb.startswith("xet-write"))
            exp, cas = int(time.time()) + 3600, self.server.url + "/cas"
            said = {"X-Xet-Access-Token": "xet-stub", "X-Xet-Token-Expiration": str(exp), "X-Xet-Cas-Url": cas}
            return self.json({"accessToken": "xet-stub", "exp": exp, "casUrl": cas}, headers=said)
        if verb == "preupload":
            return self.preupload(rtype, rid, arg[0])
        if verb == "commit":
            return self.commit(rtype, rid, arg[0])
        if verb == "tree":
            state = self.repo(rtype, rid)
            return self.tree(state, arg[0], "/".join(arg[1:]))
        if verb == "paths-info":
            state = self.repo(rtype, rid)
            if "json" in (self.headers.get("Content-Type") or ""):
                paths = json.loads(self.body())["paths"]
            else:
                paths = parse_qs(self.body().decode()).get("paths", [])
            tree = st.commit_obj(st.resolve(state, arg[0]))["tree"]
            out = []
            for p in paths:
                p = p.strip("/")
                if p in tree:
                    out.append(self.entry(p, tree[p]))
                elif any(t.startswith(p + "/") for t in tree):
                    out.append({"type": "directory", "path": p, "size": 0, "oid": hashlib.sha1(p.encode()).hexdigest()})
            return self.json(out)
        if verb == "refs":
            state = self.repo(rtype, rid)
            def pick(pre):
                refs = [(r, c) for r, c in state["refs"].items() if r.startswith(pre)]
                return [{"name": r[len(pre):], "ref": r, "targetCommit": c} for r, c in refs]

            found = {"branches": pick("refs/heads/"), "tags": pick("refs/tags/"), "pullRequests": pick("refs/pr/")}
            return self.json({**found, "converts": []})
        if verb == "commits":
            state, out = self.repo(rtype, rid), []
            oid = st.resolve(state, arg[0])
            while oid:
                c = st.commit_obj(oid)
                out.append({"id": oid, **{k: c[k] for k in ("title", "message", "date")}})
                out[-1]["authors"] = [{"user": c["author"]}]
                oid = c["parent"]
            return self.json(out)
        if verb in ("branch", "tag"):
            with st.lock:
                state = self.repo(rtype, rid, write=True)
                d = json.loads(self.body() or b"{}")
                if verb == "branch":
                    ref, src = f"refs/heads/{arg[0]}", d.get("startingPoint") or "main"
                else:
                    ref, src = f"refs/tags/{d.get('tag', arg[0])}", arg[0]
                if m == "DELETE":
                    if state["refs"].pop(ref, None) is None:
                        raise HttpError(404, f"no such ref {ref}", "RevisionNotFound")
                else:
                    if ref in state["refs"]:
                        raise HttpError(409, f"Reference already exists: {ref}")
                    state["refs"][ref] = st.resolve(state, src)
                st.save(rtype, rid, state)
            return self.json({})
        if verb == "discussions":
            return self.discussions(rtype, rid, arg)
        raise HttpError(404, f"not implemented by the stub: {m} {self.path}")

    def entry(self, path, e):
        out = {"type": "file", "path": path, "size": e["size"], "oid": e["oid"]}
        if e.get("sha256"):
            out["lfs"] = {"oid": e["sha256"], "size": e["size"], "pointerSize": 135}
            xh = self.server.store.root / "cas/sha256" / e["sha256"]
            if xh.exists():
                out["xetHash"] = xh.read_text()
        return out

    def tree(self, state, rev, prefix):
        st = self.server.store
        tree = st.commit_obj(st.resolve(state, rev))["tree"]
        prefix = prefix.strip("/")
        recursive = self.q.get("recursive", ["false"])[0].lower() in ("true", "1")
        pre = prefix + "/" if prefix else ""
        rows, dirs = [], set()
        for p in sorted(tree):
            if not p.startswith(pre):
                continue
            parts = p[len(pre):].split("/")
            for k in range(1, len(parts) if recursive else min(2, len(parts))):
                d = pre + "/".join(parts[:k])
                if d not in dirs:
                    dirs.add(d)
                    oid = hashlib.sha1(d.encode()).hexdigest()
                    rows.append({"type": "directory", "path": d, "size": 0, "oid": oid})
            if recursive or len(parts) == 1:
                rows.append(self.entry(p, tree[p]))
        if prefix and not rows:
            raise HttpError(404, f"{prefix} does not exist on \"{rev}\"", "EntryNotFound")
        off, lim = int(self.q.get("cursor", ["0"])[0]), 1000
        headers = {}
        if off + lim < len(rows):
            base = self.server.url + urlsplit(self.path).path
            rec = "true" if recursive else "false"
            headers["Link"] = f'<{base}?recursive={rec}&cursor={off + lim}>; rel="next"'
        self.json(rows[off:off + lim], headers=headers)

    def info(self, rtype, state, rev):
        st = self.server.store
        oid = st.resolve(state, rev)
        c = st.commit_obj(oid)
        blobs = "blobs" in self.q
        sib = []
        for p, e in sorted(c["tree"].items()):
            row = {"rfilename": p}
            if blobs:
                row.update(size=e["size"], blobId=e["oid"])
                if e.get("sha256"):
                    row["lfs"] = {"sha256": e["sha256"], "size": e["size"], "pointerSize": 135}
            sib.append(row)
        out = {"_id": "0" * 24, "id": state["id"], "author": state["id"].split("/")[0],
               "sha": oid, "lastModified": c["date"], "createdAt": state["created"], "private": state["private"],
               "gated": state["gated"], "disabled": False, "downloads": 0, "likes": 0, "tags": [], "siblings": sib}
        return out

    def validate_yaml(self, content):
        errors = []
        mm = re.match(r"---\r?\n(.*?)\r?\n---", content, re.S)
        if mm:
            try:
                for c in (yaml.safe_load(mm[1]) or {}).get("configs") or []:
                    if "config_name" not in c:
                        errors.append({"message": '"configs[].config_name" is required'})
            except yaml.YAMLError as e:
                errors.append({"message": f"invalid YAML: {e}"})
        self.json({"errors": errors, "warnings": []})

    def discussions(self, rtype, rid, arg):
        st = self.server.store
        with st.lock:
            state = self.repo(rtype, rid)
            if self.command == "POST" and not arg:
                u = self.user(required=True)
                d = json.loads(self.body())
                num = len(state["discussions"]) + 1
                state["discussions"].append({"num": num, "title": d["title"], "author": u["name"],
                                             "pr": bool(d.get("pullRequest")),
                                             "status": "draft" if d.get("pullRequest") else "open", "date": now(),
                                             "description": d.get("description") or ""})
                if d.get("pullRequest"):
                    state["refs"][f"refs/pr/{num}"] = state["refs"]["refs/heads/main"]
                st.save(rtype, rid, state)
                return self.json({"num": num})
            rows = state["discussions"]
            if arg and len(arg) > 1 and self.command == "POST":
                d = rows[int(arg[0]) - 1]
                if arg[1] == "merge":
                    state["refs"]["refs/heads/main"] = state["refs"][f"refs/pr/{arg[0]}"]
                    d["status"] = "merged"
                elif arg[1] == "status":
                    d["status"] = json.loads(self.body())["status"]
                st.save(rtype, rid, state)
            def one(d):
                return {"title": d["title"], "num": d["num"], "author": {"name": d["author"]}, "createdAt": d["date"],
                                         "status": d["status"], "repo": {"name": rid, "type": "dataset"},
                                         "isPullRequest": d["pr"], "pinned": False}
            if arg:
                d = rows[int(arg[0]) - 1]
                out = one(d) | {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "diff": ""}
                out |= {"events": [
                    {"id": "e1", "type": "comment", "createdAt": d["date"], "author": {"name": d["author"]},
                     "data": {"edited": False, "hidden": False, "latest": {"raw": d["description"]}}}]}
                if len(arg) > 1:
                    out = {"newStatus": {"id": "e2", "type": "status-change", "createdAt": now(),
                                         "author": {"name": d["author"]},
                                         "data": {"status": d["status"]}}}
                return self.json(out)
            return self.json({"discussions": [one(d) for d in rows], "count": len(rows), "start": 0})

    # -- writing
    def preupload(self, rtype, rid, rev):
        st = self.server.store
        # a PR may be opened by someone who cannot write: `create_pr=1` needs only a login
        state = self.repo(rtype, rid, write=self.q.get("create_pr") != ["1"])
        head = st.resolve(state, rev)
        tree = st.commit_obj(head)["tree"]
        d = json.loads(self.body())
        out = []
        for f in d["files"]:
            sample = base64.b64decode(f["sample"])
            lfs = f["size"] > REGULAR_MAX or Path(f["path"]).suffix.lower() in LFS_EXT or b"\0" in sample
            row = {"path": f["path"], "uploadMode": "lfs" if lfs else "regular",
                   "shouldIgnore": False}
            e = tree.get(f["path"])
            if e:
                row["oid"] = e.get("sha256") or e["oid"]
            out.append(row)
        self.json({"files": out, "commitOid": head})

    def commit(self, rtype, rid, rev):
        st = self.server.store
        create_pr = self.q.get("create_pr") == ["1"]
        lines = [json.loads(x) for x in self.body().splitlines() if x.strip()]
        head = next(x["value"] for x in lines if x["key"] == "header")
        with st.lock:
            state = self.repo(rtype, rid, write=not create_pr)
            u = self.user(required=True)
            ref = st.ref_name(rev)
            if ref not in state["refs"]:
                raise HttpError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
            parent = state["refs"][ref]
            want = head.get("parentCommit")
            if want and not parent.startswith(want):
                raise HttpError(412, "A commit has happened since. Please refresh and try again.")
            tree = dict(st.commit_obj(parent)["tree"])
            for x in lines:
                k, v = x["key"], x["value"]
                if k == "file":
                    data = base64.b64decode(v["content"])
                    tree[v["path"]] = {"size": len(data), "oid": st.put_blob(data)}
                elif k == "lfsFile":
                    size = self.lfs_size(v["oid"])
                    if size is None:
                        raise HttpError(400, f"Error: lfs file {v['path']} ({v['oid']}) was not uploaded")
                    ptr = f"version https://git-lfs.github.com/spec/v1\noid sha256:{v['oid']}\nsize {size}\n".encode()
                    tree[v["path"]] = {"size": size, "oid": git_sha1(ptr), "sha256": v["oid"]}
                elif k == "deletedFile":
                    if tree.pop(v["path"], None) is None:
                        raise HttpError(400, f"Error: file {v['path']} does not exist")
                elif k == "deletedFolder":
                    for p in [p for p in tree if p.startswith(v["path"].rstrip("/") + "/")]:
                        del tree[p]
            pr_url = None
            oid = st.new_commit(tree, parent, head["summary"], head.get("description", ""), u["name"])
            if create_pr:
                num = len(state["discussions"]) + 1
                state["discussions"].append({"num": num, "title": head["summary"], "pr": True, "author": u["name"],
                                             "status": "open", "date": now(), "description": ""})
                ref = f"refs/pr/{num}"
                pr_url = f"{self.server.url}/datasets/{rid}/discussions/{num}"
            state["refs"][ref] = oid
            st.save(rtype, rid, state)
        base = f"{self.server.url}/datasets/{rid}"
        out = {"success": True, "commitUrl": f"{base}/commit/{oid}", "commitOid": oid, "hookOutput": ""}
        if pr_url:
            out["pullRequestUrl"] = pr_url
        self.json(out)

    def lfs_size(self, sha: str) -> int | None:
        st = self.server.store
        if (st.root / "lfs" / sha).exists():
            return (st.root / "lfs" / sha).stat().st_size
        x = st.root / "cas/sha256" / sha
        return self.server.cas.file_info(x.read_text())["size"] if x.exists() else None

    # -- Git LFS
    def lfs_batch(self, rtype, rid):
        d = json.loads(self.body())
        up = d["operation"] == "upload"
        self.repo(rtype, rid, write=up)
        out = []
        for o in d["objects"]:
            row = {"oid": o["oid"], "size": o["size"]}
            have = self.lfs_size(o["oid"]) is not None
            url = f"{self.server.url}/lfs/{o['oid']}"
            if up and not have:
                row["actions"] = {"upload": {"href": url}}
            elif not up and have:
                row["actions"] = {"download": {"href": url}}
            out.append(row)
        self.json({"transfer": "basic", "objects": out})

    def lfs_data(self, s):
        root = self.server.store.root / "lfs"
        sha = s[0]
        if not re.fullmatch(r"[0-9a-f]{64}", sha):
            raise HttpError(400, "bad oid")
        if self.command == "PUT":
            if hashlib.sha256(self.body()).hexdigest() != sha:
                raise HttpError(400, "content does not match oid")
            write_atomic(root / sha, self.body())
            return self.send(200, headers={"ETag": f'"{sha}"'})
        return self.send_file(self.plain_bytes(sha))

    # -- reading
    def plain_bytes(self, sha: str) -> Path:
        """Path of the plain content; a file that came in through Xet is rebuilt once, by hf_xet from our own CAS."""
        st = self.server.store
        p = st.root / "lfs" / sha
        if not p.exists():
            fhash = (st.root / "cas/sha256" / sha).read_text()
            info = self.server.cas.file_info(fhash)
            with self.server.rebuild_lock:
                if not p.exists():
                    tmp = str(p) + f".tmp{threading.get_ident()}"
                    with hf_xet.XetSession().new_file_download_group(
                            endpoint=self.server.url + "/cas", token="xet-stub", token_expiry_unix_secs=2**33) as g:
                        g.start_download_file(hf_xet.XetFileInfo(fhash, info["size"]), tmp)
                    os.replace(tmp, p)
        return p

    def parse_range(self, size: int):
        r = self.headers.get("Range")
        if not r:
            return None
        out = []
        for part in r.split("=", 1)[1].split(","):
            a, b = part.strip().split("-")
            if a == "":
                out.append((max(0, size - int(b)), size - 1))
            else:
                out.append((int(a), min(size - 1, int(b)) if b else size - 1))
        if any(a >= size for a, _ in out):
            raise HttpError(416, "Requested range not satisfiable")
        return out

    def send_file(self, path: Path, headers=None, ctype="application/octet-stream"):
        size = path.stat().st_size
        headers = dict(headers or {})
        headers["Accept-Ranges"] = "bytes"
        rs = self.parse_range(size) if size else None
        with open(path, "rb") as f:
            if self.command == "HEAD":
                return self.send(200, b"", headers | {"Content-Length": str(size)}, ctype)
            if not rs:
                return self.send(200, f.read(), headers, ctype)
            if len(rs) == 1:
                a, b = rs[0]
                f.seek(a)
                return self.send(206, f.read(b - a + 1), headers | {"Content-Range": f"bytes {a}-{b}/{size}"}, ctype)
            buf, bd = b"", "stubBoundary7f3a"
            for a, b in rs:
                f.seek(a)
                about = f"Content-Type: {ctype}\r\nContent-Range: bytes {a}-{b}/{size}"
                buf += f"\r\n--{bd}\r\n{about}\r\n\r\n".encode() + f.read(b - a + 1)
            return self.send(206, buf + f"\r\n--{bd}--\r\n".encode(), headers, f"multipart/byteranges; boundary={bd}")

    def resolve_file(self, rtype, rid, rev, path):
        st = self.server.store
        state = self.repo(rtype, rid)
        oid = st.resolve(state, rev)
        e = st.commit_obj(oid)["tree"].get(path)
        if e is None:
            said = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": oid}
            return self.json({"error": "Entry not found"}, 404, said)
        h = {"X-Repo-Commit": oid, "ETag": f'"{e.get("sha256") or e["oid"]}"'}
        if e.get("sha256"):
            h |= {"X-Linked-Etag": h["ETag"], "X-Linked-Size": str(e["size"])}
            xh = st.root / "cas/sha256" / e["sha256"]
            if xh.exists():
                route = f"{self.server.url}/api/{rtype}/{rid}/xet-read-token/{oid}"
                h |= {"X-Xet-Hash": xh.read_text(), "X-Xet-Refresh-Route": route}
                if self.command == "HEAD":
                    return self.send(200, b"", h | {"Content-Length": str(e["size"]), "Accept-Ranges": "bytes"})
            return self.send_file(self.plain_bytes(e["sha256"]), h)
        return self.send_file(st.root / "blobs" / e["oid"], h, "text/plain; charset=utf-8")

    # -- Xet CAS
    def cas(self, s):
        cas, m = self.server.cas, self.command
        root = cas.root
        if s[0] == "data":
            return self.send_file(root / "xorbs" / s[1])
        if (self.headers.get("Authorization") or "") != "Bearer xet-stub":
            raise HttpError(401, "bad xet token")
        if s[:2] == ["v1", "xorbs"] and m == "POST":
            new = cas.put_xorb(s[3], self.body())
            return self.json({"was_inserted": new})
        if s[:2] == ["v1", "xorbs"] and m == "HEAD":
            p = root / "xorbs" / s[3]
            if not p.exists():
                raise HttpError(404, "no such xorb")
            return self.send(200, headers={"Content-Length": str(p.stat().st_size)})
        if s == ["v1", "shards"] and m == "POST":
            cas.put_shard(self.body())
            return self.json({"result": 1})
        if s == ["v2", "shards"] and m == "POST":
            n = cas.put_shard(self.body())
            ev = [{"type": "validating", "verified": n, "total": n}, {"type": "result", "result": 1}]
            return self.send(200, b"".join(json.dumps(e).encode() + b"\n" for e in ev), ctype="application/x-ndjson")
        if s[:2] in (["v2", "reconstructions"], ["v1", "reconstructions"]) and len(s) == 3:
            r, rng = self.headers.get("Range"), None
            if r:
                a, b = r.split("=")[1].split("-")
                rng = (int(a), int(b) if b else None)
            return self.json(cas.reconstruction(s[2], rng, self.server.url, s[0] == "v2"))
        if s[:2] == ["v1", "files"]:
            return self.send(200, headers={"Content-Length": str(cas.file_info(s[2])["size"])})
        raise HttpError(404, f"not implemented by the stub: {m} {self.path}")

    # -- test control
    def control(self, s):
        srv, d = self.server, json.loads(self.body() or b"{}")
        if s == ["stats"]:
            with srv.mx:
                found = {"requests": dict(srv.requests), "bytes_in": dict(srv.bytes_in)}
                return self.json({**found, "waiting": srv.waiting})
        if s == ["reset"]:
            with srv.mx:
                srv.waiting = 0
                srv.requests.clear()
                srv.bytes_in.clear()
                srv.faults.clear()
            return self.json({})
        if s == ["faults"]:  # {"method", "path": regex, "status", "message", "headers", "delay", "drop", "late", …}
            with srv.mx:
                srv.faults.append(dict(d))
            return self.json({})
        if s == ["repo"]:  # {"type": "datasets", "id": "alice/x", "gated": "auto", "granted": ["bob"], "private": true}
            with srv.store.lock:
                state = srv.store.load(d["type"], d["id"])
                state.update({k: v for k, v in d.items() if k in ("gated", "granted", "private")})
                srv.store.save(d["type"], d["id"], state)
            return self.json({})
        raise HttpError(404, "no such control")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.store, self.tokens = Store(Path(root)), TOKENS
        self.cas = Cas(self.store)
        self.requests, self.bytes_in, self.faults, self.waiting = {}, {}, [], 0
        self.mx, self.rebuild_lock = threading.Lock(), threading.Lock()

    def count(self, method, route, n):
        kind = route.split("/")[1] if not route.startswith("/cas/") else "/".join(route.split("/")[1:4])
        with self.mx:
            key = f"{method} {kind}"
            self.requests[key] = self.requests.get(key, 0) + 1
            self.bytes_in[key] = self.bytes_in.get(key, 0) + n

    def take_fault(self, method, path):
        if path.startswith("/__stub__"):
            return None
        with self.mx:
            for f in self.faults:
                if f.get("times", 1) > 0 and f.get("method", method) == method and re.search(f["path"], path):
                    if f.get("skip", 0) > 0:
                        f["skip"] -= 1
                        continue
                    f["times"] = f.get("times", 1) - 1
                    return f
        return None

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    server = Server(parser.parse_args().root)
    print(server.url, flush=True)
    server.serve_forever()
