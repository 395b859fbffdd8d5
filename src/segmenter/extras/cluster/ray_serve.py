"""The service of `segmenter serve` on Ray Serve: replicas of one application behind Ray's proxies.

`serve run segmenter.extras.cluster.ray_serve:application model=street`
"""

import logging
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve  # pyright: ignore[reportMissingImports]  (an extra that `dev` has not)
from starlette.applications import Starlette

from segmenter.extras.serving.app import open_service
from segmenter.extras.serving.service_settings import TOKEN_VARIABLE, ServiceSettings, read_token
from segmenter.options import Compute

log = logging.getLogger("segmenter.cluster")

Count = Annotated[int, Field(ge=1, le=1000)]


class ServiceArguments(BaseModel):
    """What the application can be told: these fields, and those of `options.Compute`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: str = "street"
    """As for `Predictor`; a path must lead to the file on every machine."""
    local: bool = True
    """Answer only requests to `localhost`; turn it off where the proxies are reached by a name."""
    num_replicas: Count = 1
    num_cpus: Annotated[float, Field(gt=0)] = 1
    """Of each replica; also its threads."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    max_requests: Count = 16
    """Requests that a replica works on at a time; it answers 429 to more."""
    max_queued_requests: Count = 64
    """Requests that wait in a proxy for a replica; it answers 503 to more."""

    @property
    def compute(self) -> Compute:
        """How the model is computed."""
        return Compute(**(self.model_extra or {}))

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            assert self.compute
        except TypeError as error:
            raise ValueError(str(error)) from None
        return self


def application(args: ServiceArguments) -> serve.Application:
    """Describe the application to Ray; the model is loaded in the replicas.

    Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.
    """
    token = read_token()
    if token is None and not args.local:
        log.warning("everyone who reaches it can use it; set %s to a secret", TOKEN_VARIABLE)
    settings = ServiceSettings(token=token, is_local=args.local, max_requests=args.max_requests)

    def build() -> Starlette:
        return open_service(args.model, settings, args.compute).application()

    deployment = serve.deployment(
        name="segmenter",
        num_replicas=args.num_replicas,
        ray_actor_options={"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
        # More than it works on, so that it can refuse them itself, and answer for its health.
        max_ongoing_requests=2 * args.max_requests,
        max_queued_requests=args.max_queued_requests,
        graceful_shutdown_timeout_s=settings.drain_timeout,
    )
    return deployment(serve.ingress(build)(_Replica)).bind()


class _Replica:
    """Has no state of its own: all is in the application."""
