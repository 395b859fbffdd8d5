"""Arguments of the application for Ray Serve; Ray itself is not imported here."""

from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from segmenter.options import Compute, ServedLabels, Sizes

Count = Annotated[int, Field(ge=1, le=1000)]


def _split(value: object) -> object:
    """Take a text from a command line, such as `0.75,1`, for the numbers in it."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _options() -> dict[str, Any]:
    """Return type and default of each option that `segmenter serve` takes for the model."""
    found = {}
    for kind in (Compute, Sizes, ServedLabels):
        hints = get_type_hints(kind)
        for field in fields(kind):
            hint = hints[field.name]
            found[field.name] = (
                Annotated[hint, BeforeValidator(_split)] if field.name == "scales" else hint,
                field.default,
            )
    return found


_Options: type[BaseModel] = create_model("_Options", **_options())


class ServiceArguments(_Options):
    """Arguments of the application: these, and the fields of `Compute`, `Sizes` and `ServedLabels`.

    Those are the options of `segmenter serve` with their defaults, by their names in Python.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "street"
    """Model, as for `Predictor`; a path must lead to the file on every machine."""
    local: bool = True
    """Answer only requests to `localhost`; turn it off where the proxies are reached by a name."""
    num_replicas: Count = 1
    num_cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs of each replica, and its number of threads."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    max_requests: Count = 16
    """Requests that a replica works on at a time; it answers 429 to more."""
    max_queued_requests: Count = 64
    """Requests that wait in a proxy for a replica; it answers 503 to more."""

    @property
    def compute(self) -> Compute:
        """Return how the model is computed."""
        return self._chosen(Compute)

    @property
    def sizes(self) -> Sizes:
        """Return the size and the windows in which the model is shown images."""
        return self._chosen(Sizes)

    @property
    def labels(self) -> ServedLabels:
        """Return the rules by which labels are chosen."""
        return self._chosen(ServedLabels)

    def _chosen(self, kind: type) -> Any:
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})
