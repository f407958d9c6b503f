"""A small Hub for tests: the part of the Hugging Face Hub's protocol that its real clients use, on this machine alone.

Standard library only, run as a process of its own: ``python hub_server.py --root DIR --mode lfs|xet``. It writes its
address as one line to standard output, and ends when standard input closes. It answers `huggingface_hub` 2.4, `hf_xet`
1.8, `datasets` 5.2 and `webdataset` 1.0.2. It cannot prove the rules of the real Hub for cards, its quotas, its viewer.

Beside the Hub's paths there are these for tests:

- ``GET /_test/log``: the requests so far, a mapping each: method, path, status, sent, received, range, with_token.
- ``POST /_test/faults``: a list of ``{"kind", "status", "times", "after", "seconds"}``; replaces the earlier ones.
  Kinds: commit, put, xorb, tree, whoami, resolve; small, large and chunks for content. ``after`` cuts content off after
  so many bytes; ``seconds`` delays.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from support.xet_store import XetStore

USER = "tester"
TOKENS = {
    "hf_write": {"role": "write"},
    "hf_read": {"role": "read"},
    "hf_fine": {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [
        {"entity": {"type": "user", "name": USER}, "permissions": ["repo.content.read", "repo.write"]}]}},
    "hf_fine_read": {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [
        {"entity": {"type": "user", "name": USER}, "permissions": ["repo.content.read"]}]}},
    "hf_refused": {"role": "write"},
}  # fmt: skip
"""Tokens and what whoami tells of them; the last one claims to write, and may not."""
ORGS = [{"name": "lab", "roleInOrg": "write"}, {"name": "club", "roleInOrg": "read"}]
BIG = 10 * 2**20
LFS_SUFFIXES = (".tar", ".parquet", ".png", ".safetensors", ".h5", ".npz")
PAGE, PAGE_EXPANDED = 1000, 50
SOON = 3600


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    oid: str
    """Git's."""
    size: int
    data: bytes | None
    """Of a regular file; None for a large one."""
    sha256: str | None = None
    pointer_size: int = 0
    xet: str | None = None


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, Blob], title: str, parent: str | None) -> str:
        told = [sorted((path, blob.oid) for path, blob in files.items()), title, parent, len(self.commits)]
        commit = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.commits[commit] = {"files": files, "title": title, "parent": parent, "date": date}
        return commit

    def find(self, revision: str) -> str | None:
        commit = self.branches.get(revision) or self.tags.get(revision)
        return commit or (revision if revision in self.commits else None)


class Hub:
    """Everything that the server keeps."""

    def __init__(self, root: Path, mode: str) -> None:
        (root / "lfs").mkdir(parents=True, exist_ok=True)
        self.root, self.mode, self.base, self.other = root, mode, "", ""
        self.xet = XetStore(root / "xorbs")
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.lock = threading.RLock()

    def lfs_path(self, sha256: str) -> Path:
        return self.root / "lfs" / sha256

    def large_size(self, sha256: str) -> int | None:
        """Return the size of a large file that was uploaded; None where there is none."""
        if self.lfs_path(sha256).is_file():
            return self.lfs_path(sha256).stat().st_size
        file = self.xet.by_sha256.get(sha256)
        return self.xet.files[file].size if file else None

    def large_content(self, sha256: str) -> bytes:
        if not self.lfs_path(sha256).is_file():
            data = self.xet.content(self.xet.by_sha256[sha256])
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ValueError(f"{sha256}: the stored chunks give another file")
            self.lfs_path(sha256).write_bytes(data)
        return self.lfs_path(sha256).read_bytes()

    def fault(self, kind: str) -> dict[str, Any] | None:
        """Take a fault that is due."""
        with self.lock:
            for fault in self.faults:
                if fault["kind"] == kind and fault.get("times", 1) > 0:
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return None


def regular(data: bytes) -> Blob:
    return Blob(hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), len(data), data)


def large(sha256: str, size: int, xet: str | None) -> Blob:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return Blob(regular(pointer).oid, size, None, sha256, len(pointer), xet)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2**16
    hub: Hub

    def log_message(self, *_args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    # Reading and writing.

    def read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, told: Any = None, headers: dict[str, str] | None = None) -> None:
        data = b"" if told is None else json.dumps(told).encode()
        self.send_bytes(status, data, {"Content-Type": "application/json", **(headers or {})})

    def send_bytes(self, status: int, data: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = b"" if self.command == "HEAD" else data if cut is None else data[:cut]
        entry = {
            "method": self.command, "path": self.path, "status": status, "sent": len(sent),
            "received": len(self.body), "range": self.headers.get("Range"),
            "with_token": bool(self.headers.get("Authorization")),
        }  # fmt: skip
        with self.hub.lock:
            self.hub.log.append(entry)
        self.wfile.write(sent)
        self.wfile.flush()
        if cut is not None and cut < len(data):
            self.close_connection = True
            self.connection.close()

    def refuse(self, status: int, code: str, text: str) -> None:
        self.send(status, {"error": text}, {"X-Error-Code": code, "X-Error-Message": text})

    def send_content(self, tag: str, data: bytes, headers: dict[str, str], kind: str) -> None:
        fault, status, size = self.hub.fault(kind), 200, len(data)
        if fault and fault.get("status"):
            return self.send(fault["status"], {"error": "injected"})
        headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or size), size - 1)
            if first >= size:
                return self.send_bytes(416, b"", {"Content-Range": f"bytes */{size}"})
            status, data = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
        return self.send_bytes(status, data, headers, cut=fault["after"] if fault else None)

    # Who asks, and for what.

    @property
    def token(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        return token if token in TOKENS else None

    def failed(self, kind: str) -> bool:
        """Answer with an injected fault, if one is due."""
        fault = self.hub.fault(kind)
        if fault is None:
            return False
        if fault.get("seconds"):
            time.sleep(fault["seconds"])
        if not fault.get("status"):
            return False
        self.send(fault["status"], {"error": "injected"})
        return True

    def repo(self, kind: str, name: str) -> Repo | None:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and not self.token):
            self.refuse(404 if self.token else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.find(unquote(revision))
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
        return commit

    def answer(self) -> None:
        self.body = self.read_body()
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query))
        wrong = (self.headers.get("Authorization") or "").startswith("Bearer ") and not self.token
        if wrong and not url.path.startswith("/_"):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        for pattern, method in ROUTES:
            found = re.fullmatch(pattern, url.path)
            if found:
                return getattr(self, method)(**found.groupdict())
        return self.refuse(404, "", f"the test Hub does not know {url.path}")

    # For tests.

    def tell_log(self) -> None:
        self.send(200, self.hub.log)

    def take_faults(self) -> None:
        self.hub.faults = json.loads(self.body)
        self.send(200, {})

    # Accounts and repositories.

    def whoami(self) -> None:
        if self.failed("whoami"):
            return None
        if not self.token:
            return self.refuse(401, "", "Invalid username or password.")
        auth = {"type": "access_token", "accessToken": {"displayName": "test", **TOKENS[self.token]}}
        return self.send(200, {"type": "user", "name": USER, "orgs": ORGS, "auth": auth})

    def may_write(self) -> bool:
        if self.token in {"hf_write", "hf_fine"}:
            return True
        self.refuse(403 if self.token else 401, "", "You don't have the rights to write here.")
        return False

    def create_repo(self) -> None:
        if not self.may_write():
            return None
        told = json.loads(self.body)
        kind, name = told.get("type") or "model", f"{told.get('organization') or USER}/{told['name']}"
        url = f"{self.hub.base}/{'' if kind == 'model' else kind + 's/'}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repos:
                return self.send(409, {"error": "You already created this repo", "url": url})
            repo = self.hub.repos[kind, name] = Repo(told.get("visibility") == "private" or bool(told.get("private")))
            rules = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
            repo.branches["main"] = repo.add({".gitattributes": regular(rules.encode())}, "initial commit", None)
        return self.send(200, {"url": url, "name": name, "id": name})

    def validate_card(self) -> None:
        fine = json.loads(self.body)["content"].startswith("---")
        self.send(200, {"errors": [], "warnings": [] if fine else [{"message": "empty or missing yaml metadata"}]})

    # Large files by LFS.

    def lfs_batch(self, kind: str | None, name: str) -> None:
        if self.repo((kind or "models")[:-1], name) is None or not self.may_write():
            return
        objects = []
        for asked in json.loads(self.body)["objects"]:
            told = {"oid": asked["oid"], "size": asked["size"]}
            if self.hub.large_size(asked["oid"]) != asked["size"]:
                href = f"{self.hub.base}/_lfs/{asked['oid']}"
                told["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(told)
        self.send(200, {"transfer": "basic", "objects": objects})

    def lfs_object(self, sha256: str) -> None:
        if self.command == "PUT":
            if self.failed("put"):
                return None
            if hashlib.sha256(self.body).hexdigest() != sha256:
                return self.send(422, {"message": "the content has another SHA-256"})
            path = self.hub.lfs_path(sha256)
            partial = path.with_name(f"{sha256}.{threading.get_ident()}")
            partial.write_bytes(self.body)
            partial.replace(path)
            return self.send(200)
        if self.headers.get("Authorization"):
            return self.send(400, {"error": "the storage must not see the Hub's token"})
        return self.send_content(sha256, self.hub.large_content(sha256), {}, "large")

    def lfs_verify(self, sha256: str) -> None:
        fine = self.hub.large_size(sha256) == json.loads(self.body)["size"]
        self.send(200 if fine else 422, {"message": "ok" if fine else "another size"})

    # Large files by Xet.

    def xet_token(self, kind: str, name: str, access: str) -> None:
        if self.hub.mode != "xet":
            return self.refuse(404, "", "this Hub has no Xet")
        if self.repo(kind[:-1], name) is None or (access == "write" and not self.may_write()):
            return None
        url, end = f"{self.hub.base}/_cas", int(time.time()) + SOON
        headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": str(end)}
        return self.send(200, {"casUrl": url, "exp": end, "accessToken": "x"}, headers)

    def cas_xorb(self, xorb: str) -> None:
        if not self.failed("xorb"):
            with self.hub.lock:
                new = self.hub.xet.put_xorb(xorb, self.body)
            self.send(200, {"was_inserted": new})

    def cas_shard(self) -> None:
        with self.hub.lock:
            wrong = self.hub.xet.put_shard(self.body)
        self.send(200, {"result": 1}) if wrong is None else self.send(400, {"error": wrong})

    def cas_reconstruction(self, file: str) -> None:
        if file not in self.hub.xet.files:
            return self.send(404, {"error": "no such file"})
        return self.send(200, self.hub.xet.reconstruction(file, self.headers.get("Range"), self.hub.other))

    def cas_other(self) -> None:
        self.send(404, {"error": "not here; the client does without"})

    def xorb(self, xorb: str) -> None:
        self.send_content(xorb, self.hub.xet.xorb_path(xorb).read_bytes(), {}, "chunks")

    # Reading repositories.

    def repo_info(self, kind: str, name: str, revision: str = "main") -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if commit:
            told = repo.commits[commit]
            self.send(200, {
                "_id": "0", "id": name, "sha": commit, "private": repo.private, "gated": False, "disabled": False,
                "lastModified": told["date"], "createdAt": told["date"], "tags": [], "downloads": 0, "likes": 0,
                "author": USER, "siblings": [{"rfilename": path} for path in sorted(told["files"])],
            })  # fmt: skip

    def refs(self, kind: str, name: str) -> None:
        repo = self.repo(kind[:-1], name)
        if repo:
            heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.tags.items()]
            self.send(200, {"branches": heads, "converts": [], "tags": tags})

    def commits(self, kind: str, name: str, revision: str) -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if commit:
            listed = []
            while commit:
                told = repo.commits[commit]
                entry = {"id": commit, "title": told["title"], "message": "", "date": told["date"], "authors": []}
                listed.append(entry)
                commit = told["parent"]
            self.send(200, listed)

    def entry(self, path: str, blob: Blob, told: dict[str, Any] | None, commit: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid}
        if blob.sha256:
            entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
        if blob.xet:
            entry["xetHash"] = blob.xet
        if told:
            entry["lastCommit"] = {"id": commit, "title": told["title"], "date": told["date"]}
        return entry

    def tree(self, kind: str, name: str, revision: str, folder: str | None = None) -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if not commit or self.failed("tree"):
            return None
        told, start = repo.commits[commit], f"{unquote(folder)}/" if folder else ""
        recursive, expand = (self.query.get(word, "").lower() == "true" for word in ("recursive", "expand"))
        listed: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(told["files"].items()):
            if not path.startswith(start):
                continue
            parts = path.removeprefix(start).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                inner = start + "/".join(parts[:depth])
                digest = hashlib.sha1(inner.encode()).hexdigest()
                listed.setdefault(inner, {"type": "directory", "path": inner, "oid": digest, "size": 0})
            if recursive or len(parts) == 1:
                listed[path] = self.entry(path, blob, told if expand else None, commit)
        if folder and not listed:
            return self.refuse(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        page, first = PAGE_EXPANDED if expand else PAGE, int(self.query.get("cursor", "0"))
        headers, entries = {}, list(listed.values())
        if first + page < len(entries):
            here = re.sub(r"[?&]cursor=\d+", "", self.path)
            mark = "&" if "?" in here else "?"
            headers["Link"] = f'<{self.hub.base}{here}{mark}cursor={first + page}>; rel="next"'
        return self.send(200, entries[first : first + page], headers)

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if not commit:
            return
        as_json = "json" in (self.headers.get("Content-Type") or "")
        asked = json.loads(self.body) if as_json else parse_qs(self.body.decode())
        told, listed = repo.commits[commit], []
        for path in asked.get("paths", []):
            if path in told["files"]:
                listed.append(self.entry(path, told["files"][path], told, commit))
            elif any(known.startswith(f"{path.rstrip('/')}/") for known in told["files"]):
                digest = hashlib.sha1(path.encode()).hexdigest()
                listed.append({"type": "directory", "path": path, "oid": digest, "size": 0})
        self.send(200, listed)

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        repo = self.repo((kind or "models")[:-1], name)
        commit = repo and self.commit(repo, revision)
        if not commit or self.failed("resolve"):
            return None
        blob = repo.commits[commit]["files"].get(unquote(path))
        if blob is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit}
        if blob.data is not None:
            return self.send_content(blob.oid, blob.data, headers, "small")
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.sha256}"'}
        if blob.xet:
            route = f"{self.hub.base}/api/{kind or 'models'}/{name}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": blob.xet, "X-Xet-Refresh-Route": route}
        # To another host, as the Hub does: the client must not take its token there.
        return self.send(302, None, {**headers, "Location": f"{self.hub.other}/_lfs/{blob.sha256}"})

    # Writing repositories.

    def preupload(self, kind: str, name: str, revision: str) -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if not commit or not self.may_write():
            return
        known, told = repo.commits[commit]["files"], []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            is_large = file["size"] > BIG or path.endswith(LFS_SUFFIXES) or b"\0" in base64.b64decode(file["sample"])
            entry = {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            if path in known:
                entry["oid"] = known[path].sha256 or known[path].oid
            told.append(entry)
        self.send(200, {"files": told})

    def make_commit(self, kind: str, name: str, revision: str) -> None:
        repo = self.repo(kind[:-1], name)
        if repo is None or not self.may_write() or self.failed("commit"):
            return None
        with self.hub.lock:
            branch = unquote(revision)
            parent = self.commit(repo, revision)
            if parent is None:
                return None
            files, head = dict(repo.commits[parent]["files"]), {}
            for line in self.body.splitlines():
                told = json.loads(line)
                if told["key"] == "header":
                    head = told["value"]
                else:
                    wrong = self.change(files, told["key"], told["value"])
                    if wrong:
                        return self.refuse(400, "", wrong)
            if head.get("parentCommit") not in {None, parent}:
                return self.refuse(412, "", "Precondition Failed: parentCommit")
            commit = repo.branches[branch] = repo.add(files, head.get("summary", ""), parent)
        url = f"{self.hub.base}/{kind}/{name}/commit/{commit}"
        return self.send(200, {"success": True, "commitUrl": url, "commitOid": commit, "hookOutput": ""})

    def change(self, files: dict[str, Blob], key: str, value: dict[str, Any]) -> str | None:
        """Apply one line of a commit; return what is wrong with it."""
        path = value["path"]
        if key == "file":
            files[path] = regular(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            sha256 = value["oid"]
            size = self.hub.large_size(sha256)
            if size is None or size != value.get("size", size):
                return f"the content of {path} was not uploaded"
            files[path] = large(sha256, size, self.hub.xet.by_sha256.get(sha256))
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                return f"{path} does not exist"
        else:
            return f"a commit line of kind {key} is not known"
        return None

    def add_branch(self, kind: str, name: str, branch: str) -> None:
        repo = self.repo(kind[:-1], name)
        if repo is None or not self.may_write():
            return None
        if unquote(branch) in repo.branches:
            return self.refuse(409, "", "Reference already exists")
        start = (json.loads(self.body) if self.body else {}).get("startingPoint", "main")
        commit = self.commit(repo, start)
        if commit is None:
            return None
        repo.branches[unquote(branch)] = commit
        return self.send(200, {})

    def add_tag(self, kind: str, name: str, revision: str) -> None:
        repo = self.repo(kind[:-1], name)
        commit = repo and self.commit(repo, revision)
        if not commit or not self.may_write():
            return None
        tag = json.loads(self.body)["tag"]
        if tag in repo.tags:
            return self.refuse(409, "", "Tag reference exists already")
        repo.tags[tag] = commit
        return self.send(200, {})


_REPO = r"(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_FILES = r"(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+?)"
_DIGEST = "[0-9a-f]{64}"
ROUTES = (
    (r"/_test/log", "tell_log"),
    (r"/_test/faults", "take_faults"),
    (r"/api/whoami-v2", "whoami"),
    (r"/api/repos/create", "create_repo"),
    (r"/api/validate-yaml", "validate_card"),
    (rf"/_lfs/(?P<sha256>{_DIGEST})", "lfs_object"),
    (rf"/_lfs/(?P<sha256>{_DIGEST})/verify", "lfs_verify"),
    (rf"/_xorb/(?P<xorb>{_DIGEST})", "xorb"),
    (rf"/_cas/v1/xorbs/default/(?P<xorb>{_DIGEST})", "cas_xorb"),
    (r"/_cas/v1/shards", "cas_shard"),
    (rf"/_cas/v1/reconstructions/(?P<file>{_DIGEST})", "cas_reconstruction"),
    (r"/_cas/.*", "cas_other"),
    (rf"/{_FILES}\.git/info/lfs/objects/batch", "lfs_batch"),
    (rf"/api/{_REPO}/xet-(?P<access>read|write)-token/[^/]+", "xet_token"),
    (rf"/api/{_REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"/api/{_REPO}/commit/(?P<revision>[^/]+)", "make_commit"),
    (rf"/api/{_REPO}/branch/(?P<branch>[^/]+)", "add_branch"),
    (rf"/api/{_REPO}/tag/(?P<revision>[^/]+)", "add_tag"),
    (rf"/api/{_REPO}/refs", "refs"),
    (rf"/api/{_REPO}/commits/(?P<revision>[^/]+)", "commits"),
    (rf"/api/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", "tree"),
    (rf"/api/{_REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    (rf"/api/{_REPO}/revision/(?P<revision>[^/]+)", "repo_info"),
    (rf"/api/{_REPO}", "repo_info"),
    (rf"/{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--mode", choices=("lfs", "xet"), required=True)
    options = parser.parse_args()
    Handler.hub = Hub(options.root, options.mode)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port = server.server_address[1]
    Handler.hub.base, Handler.hub.other = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{Handler.hub.base}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
