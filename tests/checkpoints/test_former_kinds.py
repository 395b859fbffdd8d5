"""Model files that call decoders by their former names hold the models that they held."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import segmenter
from segmenter import UserError
from segmenter.checkpoints import model_file as own
from segmenter.model import ModelSpec, Segmenter
from segmenter.runtimes.exported import ExportFacts
from tests.helpers.models import make_spec

FORMER = {"joined-class-tokens": "eomt", "eomt": "eomt-queries"}


def of_format_1(spec: ModelSpec) -> dict:
    """What was written for the model before, with the recipe of its run."""
    content = spec.model_dump(mode="json")
    kind = FORMER[content["decoder"]["kind"]]
    decoder = content["decoder"] | {"kind": kind}
    return content | {"format": 1, "decoder": decoder, "recipe": {"model": {"decoder": decoder}}}


@pytest.mark.parametrize("decoder", FORMER)
@pytest.mark.parametrize("has_digest", [True, False], ids=["with a digest", "as 0.1.0 wrote it"])
def test_a_model_file_of_format_1_is_the_same_model(
    tmp_path: Path, decoder: str, has_digest: bool
) -> None:
    model = Segmenter(make_spec(decoder=decoder)).eval()
    facts = own.seal(of_format_1(model.spec), model.state_dict())
    if not has_digest:
        del facts["digest"]
    path = tmp_path / "former.safetensors"
    save_file(model.state_dict(), path, {"segmenter": json.dumps(facts)})
    loaded = segmenter.load(path)
    assert loaded.spec.model_copy(update={"recipe": None}) == model.spec
    assert loaded.spec.recipe["model"]["decoder"]["kind"] == decoder
    assert type(loaded.decoder) is type(model.decoder)
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], each) for name, each in model.state_dict().items())
    segmenter.save(loaded, tmp_path / "today.safetensors")
    assert segmenter.load(tmp_path / "today.safetensors").spec == loaded.spec


@pytest.mark.parametrize("decoder", FORMER)
def test_an_export_of_format_1_is_the_same_model(decoder: str) -> None:
    spec = make_spec(decoder=decoder)
    facts = json.dumps({"format": 1, "spec": of_format_1(spec)})
    assert ExportFacts.model_validate_json(facts).spec.decoder == spec.decoder


def test_the_bundled_model_has_the_decoder_it_had() -> None:
    assert segmenter.load("street").spec.decoder.kind == "joined-class-tokens"


@pytest.mark.parametrize("change", [{"kind": ["eomt"]}, {"kind": None}, {}, "eomt", None, 3])
def test_a_damaged_decoder_of_format_1_is_refused(tmp_path: Path, change: object) -> None:
    model = Segmenter(make_spec())
    spec = of_format_1(make_spec(decoder="eomt")) | {"decoder": change}
    path = tmp_path / "damaged.safetensors"
    facts = own.seal(spec, model.state_dict())
    save_file(model.state_dict(), path, {"segmenter": json.dumps(facts)})
    with pytest.raises(UserError, match=r"damaged\.safetensors: .*decoder"):
        segmenter.load(path)
