"""A model of several bands is served: files and tensors of its own type, and no others."""

import io
import json
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from segmenter.extras.serving import v2
from segmenter.image_spec import ImageType, choose_bands
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.band_images import make_values, npy_bytes, tiff_bytes
from tests.helpers.models import decided, make_spec
from tests.helpers.services import serving

pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

VALUES = make_values(48, 64)
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def service() -> Iterator[SimpleNamespace]:
    spec = make_spec(3, in_channels=4)
    image = choose_bands("all", ImageType(4, "uint16")).with_range([0] * 4, [9000] * 4)
    spec = spec.model_copy(update={"classes": spec.classes.with_image(image)})
    with serving(Predictor(decided(Segmenter(spec)), runtime="torch")) as running:
        yield running


def infer(service: SimpleNamespace, values: np.ndarray, datatype: str) -> httpx.Response:
    tensor = {"name": "image", "shape": [1, *values.shape], "datatype": datatype}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {v2.HEADER_LENGTH: str(len(head)), "content-type": "application/octet-stream"}
    return service.client.post(INFER, content=head + values.tobytes(), headers=headers)


@pytest.mark.parametrize(
    "data", [tiff_bytes(VALUES, compress="deflate"), npy_bytes(VALUES)], ids=["tiff", "npy"]
)
def test_a_file_of_all_bands_is_labelled(service: SimpleNamespace, data: bytes) -> None:
    headers = {"content-type": "application/octet-stream", "accept": "image/png"}
    answer = service.client.post("/segment", content=data, headers=headers)
    assert answer.status_code == 200, answer.text
    labels = np.array(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(labels, service.predictor(VALUES))


def test_a_tensor_has_the_type_of_the_files(service: SimpleNamespace) -> None:
    assert service.client.get("/v2/models/tiny").json()["inputs"][0]["datatype"] == "UINT16"
    answer = infer(service, VALUES, "UINT16")
    assert answer.status_code == 200, answer.text
    size = int(answer.headers[v2.HEADER_LENGTH])
    labels = np.frombuffer(answer.content[size:], np.uint8).reshape(48, 64)
    np.testing.assert_array_equal(labels, service.predictor(VALUES))


def test_a_tensor_of_another_type_is_refused(service: SimpleNamespace) -> None:
    answer = infer(service, VALUES.astype(np.uint8), "UINT8")
    assert answer.status_code == 422
    assert "takes UINT16, got UINT8" in answer.text


def test_a_file_of_other_bands_is_refused(service: SimpleNamespace) -> None:
    data = tiff_bytes(VALUES[:, :, :3])
    headers = {"content-type": "image/tiff"}
    answer = service.client.post("/segment", content=data, headers=headers)
    assert answer.status_code == 422
    assert "3 bands of uint16, but images with 4 bands of uint16 are wanted" in answer.text


def test_a_picture_shows_three_channels_over_their_ranges(service: SimpleNamespace) -> None:
    headers = {"content-type": "image/tiff"}
    answer = service.client.post("/picture", content=tiff_bytes(VALUES), headers=headers)
    assert answer.status_code == 200, answer.text
    picture = np.array(Image.open(io.BytesIO(answer.content))).astype(float)
    expected = service.predictor.spec.image.show(VALUES)
    assert np.abs(picture - expected).mean() < 8
