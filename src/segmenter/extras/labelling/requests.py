"""Bodies of the page's requests: what they may hold."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segmenter.extras.labelling.label_folder import Change
from segmenter.extras.labelling.layers import Tool
from segmenter.extras.serving.refusals import RequestError
from segmenter.files.yaml import first_problem

Byte = Annotated[int, Field(ge=0, le=255)]


class Body(BaseModel):
    """A body: JSON with these fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Given = TypeVar("Given", bound=Body)


class ChangeBody(Body):
    """A change to an image."""

    image: str
    version: Annotated[int, Field(ge=0)]
    id: Annotated[str, Field(min_length=8, max_length=64)]

    @property
    def change(self) -> Change:
        """Which change it is."""
        return Change(self.image, self.version, self.id)


class StrokeBody(ChangeBody):
    """Pixels that get a value."""

    tool: Tool
    value: Byte
    runs: list[int]


class AcceptBody(ChangeBody):
    """A proposal that is accepted."""

    proposal: int
    """Its number, so that what is accepted is what was shown."""
    classes: list[int] | None = None
    """None: all."""
    runs: list[int] | None = None
    """Only inside these; None: the whole image."""


class MarkBody(ChangeBody):
    """An image is done, or not."""

    done: bool


class TakeMaskBody(ChangeBody):
    """A mask that was made elsewhere may be replaced."""

    keep_labels: bool


class ClassBody(Body):
    """A new class."""

    count: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(max_length=1000)]
    color: tuple[Byte, Byte, Byte] | None = None


class GrowBody(Body):
    """A pixel whose region is asked for."""

    image: str
    row: Annotated[int, Field(ge=0)]
    column: Annotated[int, Field(ge=0)]
    tolerance: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.5


def read_json(body: bytes, schema: type[Given]) -> Given:
    """Return a body as its fields.

    Raises:
        RequestError: 422 if it is not what it must be.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise RequestError(422, "bad-json", "the body is not JSON") from None
        raise RequestError(422, "bad-request", first_problem(error, schema)) from None
