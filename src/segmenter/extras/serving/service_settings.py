"""Limits of a service."""

import os
import re
from dataclasses import dataclass

from segmenter.data.decoding.decode import Limits
from segmenter.errors import UserError

TOKEN_VARIABLE = "SEGMENTER_TOKEN"
"""The environment variable that holds the token, where one is required."""
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds of a service; times in seconds."""

    token: str | None = None
    """Secret required as `Authorization: Bearer TOKEN`, except for health. None: not required."""
    is_local: bool = False
    """Answer only requests that name this machine as their host, as browsers' pages from elsewhere
    cannot (DNS rebinding)."""
    max_body_bytes: int = 32 << 20
    """Largest body of a request."""
    max_pixels: int = 50_000_000
    """Largest image."""
    large_pixels: int = 2 << 20
    """Images with more are large: at most half of the requests have one, and they are computed in
    slices between which others get their turn."""
    max_enlargement: int = 4
    """Most pixels of an enlarged or mirrored image, as a multiple of `max_pixels`."""
    max_pass_pixels: int = 4 << 20
    """Largest image for a model without windows, whose time grows with the square."""
    max_requests: int = 16
    """Requests that wait or run at a time; further ones get status 429."""
    deadline: float = 30.0
    """Time until a request is answered; later, it gets status 504."""
    body_timeout: float = 10.0
    """Time until the body has arrived; later, the request gets status 408."""
    max_batch: int = 8
    """Images of one size that go through the model together."""
    max_batch_wait: float = 0.005
    """Seconds for which an image waits for others of its size."""
    decode_processes: int = 2
    """Processes that decode images."""
    decode_memory: int = 2 << 30
    """Memory that each of these processes may take, in bytes."""
    decode_seconds: float = 1.0
    """CPU time that decoding an image may take, besides `decode_seconds_per_megapixel`."""
    decode_seconds_per_megapixel: float = 0.2
    """Additional CPU time for each million pixels."""
    drain_timeout: float = 23.0
    """Seconds that requests in flight have to finish when the service stops."""

    @property
    def image_limits(self) -> Limits:
        """Return the limits of an image's claims before it is decoded."""
        return Limits(max_bytes=self.max_body_bytes, max_pixels=self.max_pixels)


def read_token() -> str | None:
    """Read the token from the environment; None where it is not set.

    Raises:
        UserError: If it is empty, so that nobody opens a service who meant to close it, or holds
            what no client can send in a header.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None or _TOKEN.fullmatch(token):
        return token
    reason = "holds a blank, or what is not ASCII" if token else "is set, but empty"
    raise UserError(
        f"{TOKEN_VARIABLE} {reason}; give it letters, digits and signs of ASCII, such as those of "
        f"`openssl rand -hex 32`, or unset {TOKEN_VARIABLE} for a service without a secret"
    )
