"""A server of files on this machine."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 5000


class Server(ThreadingHTTPServer):
    """Serves one file, and remembers what was asked."""

    content = CONTENT
    mark: str | None = '"v1"'
    cut_after: int | None = None
    """Bytes of an answer, after which the line is dropped."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path != "/set.zip":
            self.send_error(404)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == server.mark:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.end_headers()
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = f"{len(server.content) - 1}/{len(server.content)}"
            self.send_header("Content-Range", f"bytes {start}-{end}")
        if server.mark:
            self.send_header("ETag", server.mark)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after])
