"""The application for Ray Serve takes what `segmenter serve` takes for its model."""

from dataclasses import asdict

import pytest
from pydantic import ValidationError

from segmenter.extras.cluster.service_arguments import ServiceArguments
from segmenter.options import Compute, ServedLabels, Sizes


def test_the_options_of_serve_are_arguments_with_its_defaults() -> None:
    arguments = ServiceArguments()
    assert arguments.compute == Compute()
    assert arguments.sizes == Sizes()
    assert arguments.labels == ServedLabels()
    every = asdict(Compute()) | asdict(Sizes()) | asdict(ServedLabels())
    assert every.items() <= arguments.model_dump().items()


def test_texts_of_a_command_line_are_read_as_numbers() -> None:
    words = {"short_side": "560", "scales": "0.75,1", "threshold": "0.3", "device": "cpu"}
    arguments = ServiceArguments.model_validate(words)
    assert arguments.sizes == Sizes(short_side=560, scales=(0.75, 1.0))
    assert arguments.labels.threshold == 0.3
    assert arguments.compute == Compute(device="cpu")


@pytest.mark.parametrize("words", [{"shortside": "5"}, {"window": "wide"}, {"num_replicas": "0"}])
def test_what_is_no_argument_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(words))):
        ServiceArguments.model_validate(words)
