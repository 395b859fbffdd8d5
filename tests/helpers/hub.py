"""A hub on this machine: as much of its API as the real client asks for, in memory."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"


class Repository:
    """Files by commit; the last commit is `main`."""

    def __init__(self, *, private: bool = False, gated: bool = False) -> None:
        self.private, self.gated = private, gated
        self.commits: dict[str, dict[str, bytes]] = {}
        self.add({".gitattributes": b"*.safetensors filter=lfs\n"})

    def add(self, files: dict[str, bytes]) -> str:
        content = self.files | files
        commit = hashlib.sha1(repr((len(self.commits), sorted(content))).encode()).hexdigest()
        self.commits[commit] = content
        return commit

    @property
    def main(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.main] if self.commits else {}


class FakeHub(ThreadingHTTPServer):
    """Repositories, what was uploaded, and what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before_commit = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, errors included."""

    server: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: object, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"content-length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._answer({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def _handle(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        self.is_known = self.headers.get("authorization") == f"Bearer {TOKEN}"
        for pattern, handler in self.ROUTES.items():
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return handler(self, **{k: v for k, v in match.groupdict().items() if v})
        return self._refuse(404, "", f"no route for {path}")

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815 (names of the base class)

    def _open(self, name: str, *, is_file: bool = False) -> Repository | None:
        """A repository that the client may see; else the answer says why not."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.is_known):
            return self._refuse(404 if self.is_known else 401, "RepoNotFound", "not found")
        if found.gated and is_file:
            return self._refuse(403, "GatedRepo", "gated")
        return found

    def _info(self, name: str, revision: str = "main") -> None:
        if repository := self._open(name):
            if revision not in {"main", *repository.commits}:
                return self._refuse(404, "RevisionNotFound", "no such revision")
            siblings = []
            for path, data in repository.files.items():
                blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                file = {"rfilename": path, "size": len(data), "blobId": blob}
                if path.endswith(".safetensors"):
                    sha256 = hashlib.sha256(data).hexdigest()
                    file["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 1}
                siblings.append(file)
            info = {"id": name, "modelId": name, "sha": repository.main, "siblings": siblings}
            self._answer(info | {"private": repository.private, "tags": [], "downloads": 0})
        return None

    def _create(self) -> None:
        given = json.loads(self.body)
        name = f"{given['organization']}/{given['name']}"
        if not self.is_known or given["organization"] != "me":
            return self._refuse(403, "", "no rights here")
        self.server.repositories[name] = Repository(private=given["visibility"] == "private")
        return self._answer({"url": f"{self.server.url}/{name}"})

    def _preupload(self, name: str) -> None:
        if self._open(name):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self._answer({"files": files})

    def _batch(self, name: str) -> None:
        assert self._open(name)
        objects = [
            each | {"actions": {"upload": {"href": f"{self.server.url}/store/{each['oid']}"}}}
            for each in json.loads(self.body)["objects"]
        ]
        self._answer({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.objects[oid] = self.body
        self._answer({})

    def _commit(self, name: str) -> None:
        self.server.before_commit()
        repository = self._open(name)
        assert repository is not None
        lines = [json.loads(line) for line in self.body.splitlines()]
        if lines[0]["value"]["parentCommit"] != repository.main:
            return self._refuse(412, "", "the repository has changed")
        files = {}
        for line in lines[1:]:
            value = line["value"]
            files[value["path"]] = (
                self.server.objects[value["oid"]]
                if line["key"] == "lfsFile"
                else base64.b64decode(value["content"])
            )
        commit = repository.add(files)
        return self._answer({"commitUrl": f"{self.server.url}/{name}", "commitOid": commit})

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._open(name, is_file=True)
        if repository is None:
            return None
        commit = repository.main if revision == "main" else revision
        if commit not in repository.commits:
            return self._refuse(404, "RevisionNotFound", "no such revision")
        data = repository.commits[commit].get(path)
        if data is None:
            return self._refuse(404, "EntryNotFound", "no such file")
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return self._answer(data, X_Repo_Commit=commit, ETag=etag)

    ROUTES = {  # noqa: RUF012
        r"GET /api/models/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?": _info,
        r"POST /api/repos/create": _create,
        r"POST /api/validate-yaml": lambda self: self._answer({"errors": [], "warnings": []}),
        r"POST /api/models/(?P<name>.+)/preupload/main": _preupload,
        r"POST /(?P<name>.+)\.git/info/lfs/objects/batch": _batch,
        r"PUT /store/(?P<oid>\w+)": _store,
        r"POST /api/models/(?P<name>.+)/commit/main": _commit,
        r"(GET|HEAD) /(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)": _file,
    }
