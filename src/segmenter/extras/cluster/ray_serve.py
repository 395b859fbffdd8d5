"""The service of `segmenter serve` on Ray Serve: replicas of one application behind Ray's proxies.

`serve run segmenter.extras.cluster.ray_serve:application model=street`
"""

import logging

from ray import serve  # pyright: ignore[reportMissingImports]  (an extra that `dev` has not)
from starlette.applications import Starlette

from segmenter.extras.cluster.service_arguments import ServiceArguments
from segmenter.extras.serving.app import open_service
from segmenter.extras.serving.service_settings import TOKEN_VARIABLE, ServiceSettings, read_token

log = logging.getLogger("segmenter.cluster")


def application(args: ServiceArguments) -> serve.Application:
    """Describe the application to Ray; the model is loaded in the replicas.

    Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.
    """
    token = read_token()
    if token is None and not args.local:
        log.warning("everyone who reaches it can use it; set %s to a secret", TOKEN_VARIABLE)
    settings = ServiceSettings(token=token, is_local=args.local, max_requests=args.max_requests)

    def build() -> Starlette:
        service = open_service(
            *(args.model, settings, args.compute),
            labels=args.labels,
            sizes=args.sizes,
        )
        return service.application()

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
