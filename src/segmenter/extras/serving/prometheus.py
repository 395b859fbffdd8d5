"""Metrics of a service, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServiceMetrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "segmenter_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "segmenter_request_seconds",
            "From the first byte of a request to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "segmenter_requests_in_flight",
            "Requests that wait or are worked on.",
            registry=self._registry,
        )
        self.batch_size = Histogram(
            "segmenter_batch_size",
            "Images that went through the model together.",
            buckets=(1, 2, 3, 4, 5, 6, 7, 8),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return generate_latest(self._registry)
