"""What a hostile client does to a service, each attack one function of the port it listens on."""

import io
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache

import httpx
import numpy as np
from PIL import Image

from tests.helpers.image_bytes import png_chunk, png_header
from tests.helpers.services import encode, make_image

INFER = "/v2/models/tiny/infer"
MIB = 1 << 20
Attack = Callable[[int, threading.Event], None]


def post(port: int, path: str, body: bytes, kind: str, **headers: str) -> None:
    """Send a body and read the answer."""
    headers = {"content-type": kind, **headers}
    httpx.post(f"http://127.0.0.1:{port}{path}", content=body, headers=headers, timeout=60)


def tensor(data: str) -> bytes:
    """A request with this JSON as its numbers."""
    return (
        '{"inputs": [{"name": "image", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": '
        + data
        + "}]}"
    ).encode()


@cache
def large_png() -> bytes:
    """50 million pixels in 150 kB."""
    rows = zlib.compress((b"\0" + b"\x80" * (3 * 7000)) * 7000, 6)
    header = png_header(7000, 7000, 8, 2)
    return header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


@cache
def scans(count: int) -> bytes:
    """A progressive JPEG of 49 million pixels whose last scan is repeated."""
    file = io.BytesIO()
    Image.new("L", (7000, 7000), 128).save(file, "JPEG", progressive=True, quality=5)
    data = file.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


@cache
def slow_webp() -> bytes:
    """Noise that takes a decoder long for its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "WEBP", quality=90, method=0)
    return file.getvalue()


def strings(port: int, _until: threading.Event) -> None:
    """210 kB that NumPy would make 2 GB of."""
    body = tensor('["' + "x" * 200_000 + '"' + ',""' * 2500 + "]")
    post(port, INFER, body, "application/json")


def objects(port: int, _until: threading.Event) -> None:
    """32 MiB of empty objects, as numbers."""
    post(port, INFER, tensor("[" + "{},{}," * (5 * MIB) + "1]"), "application/json")


def objects_elsewhere(port: int, _until: threading.Event) -> None:
    """The same beside the numbers."""
    body = b'{"parameters": {"a": [' + b"{},{}," * (5 * MIB) + b"{}]}}"
    post(port, INFER, body, "application/json")


def depth(port: int, _until: threading.Event) -> None:
    """Lists in lists."""
    post(port, INFER, tensor("[" * MIB), "application/json")


def many_numbers(port: int, _until: threading.Event) -> None:
    """11 million numbers, more than the shape has."""
    post(port, INFER, tensor("[" + "10," * (10 * MIB) + "1]"), "application/json")


def large_tensor(port: int, _until: threading.Event) -> None:
    """10 million pixels as bytes."""
    shape = [1, 3200, 3200, 3]
    stated = {"name": "image", "shape": shape, "datatype": "UINT8"}
    head = json.dumps({"inputs": [stated]}).encode()
    length = {"inference-header-content-length": str(len(head))}
    body = head + bytes(int(np.prod(shape)))
    post(port, INFER, body, "application/octet-stream", **length)


def many_scans(port: int, _until: threading.Event) -> None:
    """A JPEG of 1000 scans."""
    post(port, "/segment", scans(1000), "image/jpeg")


def some_scans(port: int, _until: threading.Event) -> None:
    """A JPEG of as many scans as are let through."""
    post(port, "/segment", scans(85), "image/jpeg")


def large_image(port: int, _until: threading.Event) -> None:
    """50 million pixels, for labels."""
    post(port, "/segment", large_png(), "image/png")


def large_confidence(port: int, _until: threading.Event) -> None:
    """50 million pixels, for their confidence."""
    post(port, "/confidence", large_png(), "image/png")


def long_image(port: int, _until: threading.Event) -> None:
    """One row of pixels."""
    post(port, "/segment", encode(np.zeros((1, 65535, 3), np.uint8)), "image/png")


def webp(port: int, _until: threading.Event) -> None:
    """An image just over the bound of small ones."""
    post(port, "/segment", slow_webp(), "image/webp")


def damaged(port: int, _until: threading.Event) -> None:
    """A cut file."""
    post(port, "/segment", large_png()[:50_000], "image/png")


def cross_site(port: int, _until: threading.Event) -> None:
    """What a page of another site makes a browser send."""
    post(port, "/segment", encode(make_image()), "text/plain", origin="https://evil.example")


def no_http(port: int, _until: threading.Event) -> None:
    """Bytes that are not a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01" * 1000)
        connection.recv(1000)


def slow_bodies(port: int, until: threading.Event) -> None:
    """As many bodies as there are places, byte by byte."""
    head = b"POST /segment HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
    connections = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(16)]
    try:
        for each in connections:
            each.sendall(head)
        end = time.monotonic() + 8
        while time.monotonic() < end and not until.wait(0.5):
            for each in connections:
                each.sendall(b"x")
    finally:
        for each in connections:
            each.close()


def leave(port: int, until: threading.Event) -> None:
    """Send a large image to each route and go."""
    body = large_png()
    for path in ("/segment", "/confidence", "/attention?layer=0&row=0.5&column=0.5"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until.wait(0.7)


def take_slowly(port: int, until: threading.Event) -> None:
    """Ask for much and read nothing."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /main.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 200)
        until.wait(3)


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (
        strings,
        objects,
        objects_elsewhere,
        depth,
        many_numbers,
        large_tensor,
        many_scans,
        some_scans,
        large_image,
        large_confidence,
        long_image,
        webp,
        damaged,
        cross_site,
        no_http,
        slow_bodies,
        leave,
        take_slowly,
    )
}
"""By name."""
