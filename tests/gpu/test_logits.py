"""A GPU gives the logits and the labels of the CPU."""

import numpy as np
import pytest
import torch

from segmenter.data.decoding.decode import decode_image
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, ModelSpec, Segmenter
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.decoders import LinearDecoderSpec
from segmenter.options import Compute
from segmenter.runtimes.open_runtime import open_runtime
from tests.helpers.gpu import blocks, rehearses, small
from tests.helpers.models import DECODERS, make_classes, make_spec
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

pytestmark = pytest.mark.gpu

_SIZES = ("tiny", "small", "base", "large", "huge", "plus")
_LARGEST_DIFFERENCE = 1e-3
_SAME_LABELS = 0.99


def smallest_forms() -> list[str]:
    """The narrowest architecture of each family and patch size."""
    found: dict[tuple[str, ...], str] = {}
    for name, (spec, _) in ARCHITECTURES.items():
        words = [word for word in name.split("_") if word not in _SIZES and not word.isdigit()]
        key = (*words, str(spec.patch_size), spec.mlp, str(spec.mlp_norm))
        best = found.get(key)
        if best is None or spec.embed_dim < ARCHITECTURES[best][0].embed_dim:
            found[key] = name
    return sorted(found.values())


def spec_of(name: str) -> ModelSpec:
    """The spec of a two-class model with this encoder, which is shallow in a rehearsal."""
    encoder, normalization = ARCHITECTURES[name]
    if rehearses():
        encoder = encoder.model_copy(update={"depth": 2})
    return ModelSpec(
        encoder=encoder,
        decoder=LinearDecoderSpec(),
        classes=make_classes(2),
        normalization=normalization,
    )


def logits(
    model: Segmenter, pixels: torch.Tensor, device: torch.device, precision: str
) -> torch.Tensor:
    """The patch logits of a model, on the CPU."""
    compute = Compute(device=str(device), runtime="torch", precision=precision)
    return open_runtime(model, compute).patch_logits(pixels).cpu()


def assert_same_as_the_cpu(spec: ModelSpec, device: torch.device) -> None:
    """Compare float32 to 0.001 of the spread of the logits, bfloat16 by the labels."""
    torch.manual_seed(0)
    model, pixels = Segmenter(spec).eval(), blocks(2, small(224, 48))
    expected = logits(model, pixels, torch.device("cpu"), "float32")
    found = logits(model, pixels, device, "float32")
    assert float((found - expected).abs().max() / expected.std()) < _LARGEST_DIFFERENCE
    rough = logits(model, pixels, device, "bfloat16")
    # Where two classes are alike to a hundredth of the spread, a random model has no opinion.
    best = expected.topk(2, dim=1).values
    is_decided = best[:, 0] - best[:, 1] > 0.02 * expected.std()
    same = (rough.argmax(1) == expected.argmax(1))[is_decided]
    assert float(same.float().mean()) >= _SAME_LABELS


@pytest.mark.parametrize("name", smallest_forms())
def test_every_encoder_gives_the_logits_of_the_cpu(name: str, device: torch.device) -> None:
    assert_same_as_the_cpu(spec_of(name), device)


@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_every_decoder_gives_the_logits_of_the_cpu(decoder: str, device: torch.device) -> None:
    assert_same_as_the_cpu(make_spec(4, decoder=decoder), device)


@pytest.mark.parametrize("model", ["street", "street-tiny"])
def test_a_trained_model_gives_the_labels_of_the_cpu(model: str, device: torch.device) -> None:
    paths = sorted((REPOSITORY / "examples").glob("*.jpg"))[: small(8, 1)]
    images = [decode_image(path) for path in paths]
    if rehearses():
        images = [image[:120, :160] for image in images]
    runtimes = {
        name: open_runtime(model, Compute(device=place, runtime="torch", precision=precision))
        for name, place, precision in (
            ("cpu", "cpu", "float32"),
            ("exact", str(device), "float32"),
            ("rough", str(device), "bfloat16"),
        )
    }
    labels = {name: Predictor(runtime)(images) for name, runtime in runtimes.items()}
    for name, least in (("exact", 0.9995), ("rough", _SAME_LABELS)):
        same = [a == b for a, b in zip(labels["cpu"], labels[name], strict=True)]
        share = float(np.mean(np.concatenate([each.ravel() for each in same])))
        assert share >= least, f"{name}: {share:.4%}"


def test_every_quantity_of_a_sliding_window_is_that_of_the_cpu(device: torch.device) -> None:
    torch.manual_seed(0)
    model, image = Segmenter(make_spec()).eval(), blocks(1, 150)[0].permute(1, 2, 0).numpy()
    protocol = EvaluationProtocol(
        short_side=120, window=48, stride=32, flip=True, scales=(0.75, 1.25)
    )
    settings = {"protocol": protocol, "precision": "float32"}
    expected = Predictor(model, device="cpu", **settings).probabilities(image)
    predictor = Predictor(model, device=device, **settings)
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=1e-3)
    np.testing.assert_allclose(predictor.confidence(image), expected.max(axis=0), atol=1e-3)
    assert np.mean(predictor(image) == expected.argmax(axis=0)) >= _SAME_LABELS
    labels, margins = predictor.labels_and_margins(image)
    assert (labels.shape, margins.shape) == (image.shape[:2], image.shape[:2])


def test_a_compiled_model_gives_the_logits_of_the_cpu(device: torch.device) -> None:
    torch.manual_seed(0)
    model, pixels = Segmenter(make_spec()).eval(), blocks(2, 64)
    expected = logits(model, pixels, torch.device("cpu"), "float32")
    compute = Compute(device=str(device), runtime="torch-compile", precision="float32")
    found = open_runtime(model, compute).patch_logits(pixels).cpu()
    assert float((found - expected).abs().max() / expected.std()) < _LARGEST_DIFFERENCE


def test_onnx_runtime_gives_the_logits_of_torch(device: torch.device) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    providers = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
    if providers[device.type] not in onnxruntime.get_available_providers():
        pytest.skip(f"{NOT_HERE}: {providers[device.type]}; pip install onnxruntime-gpu")
    pixels = blocks(2, small(360, 56))
    found, expected = (
        open_runtime(
            "street", Compute(device=str(device), runtime=name, precision="float32")
        ).patch_logits(pixels)
        for name in ("onnxruntime", "torch")
    )
    assert float((found.cpu() - expected.cpu()).abs().max()) < _LARGEST_DIFFERENCE
