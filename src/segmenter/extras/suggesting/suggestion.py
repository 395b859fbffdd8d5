"""An image that is worth labelling, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """An image that is worth labelling."""

    image: str
    """Path inside the folder of images, without suffix."""
    uncertainty: float
    """1 less the mean probability of the labels that the model gives its pixels."""
    distance: float
    """Cosine distance of its features from those of the nearest image that is labelled or
    suggested before it, 0 to 2."""
    reason: str
