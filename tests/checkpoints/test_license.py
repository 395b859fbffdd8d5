"""Licences: which of them restrict use, how they are joined, and where weights state theirs."""

from pathlib import Path

import pytest
import torch

from segmenter.checkpoints import save
from segmenter.checkpoints.license import join_licenses, license_of, terms_note, terms_of_use
from segmenter.errors import UserError
from segmenter.model import Segmenter
from tests.helpers.eomt import GOLDEN_EOMT, of_hugging_face, write_folder
from tests.helpers.models import make_spec

TERMS = "Ask my aunt."
MORE_TERMS = "Not on Sundays."


@pytest.mark.parametrize(
    "license", ["", " ", "MIT", "apache-2.0", "Apache-2.0 AND MIT", "(MIT OR ISC) AND CC0-1.0"]
)
def test_permissive_licences_and_none_have_no_note(license: str) -> None:
    assert terms_of_use(license) is None
    assert terms_note("mine", license) is None


@pytest.mark.parametrize("license", ["CC-BY-NC-4.0", "Apache-2.0 AND CC-BY-NC-4.0", TERMS])
def test_every_other_licence_has_a_note(license: str) -> None:
    expected = f"note: the model 'mine' is under these terms: {license}"
    assert terms_note("mine", license) == expected


def test_a_note_is_one_line_without_escape_codes() -> None:
    note = terms_note("a\nb", "no\n use \x1b[31m")
    assert note == r"note: the model 'a\nb' is under these terms: no use \x1b[31m"


@pytest.mark.parametrize(
    "license",
    ["", "MIT", "MIT OR ISC", "(MIT OR ISC) AND MIT", "MIT AND (ISC OR (MIT AND 0BSD))", TERMS],
)
@pytest.mark.parametrize("other", ["", "Apache-2.0", "ISC OR MIT", "(MIT OR ISC)", MORE_TERMS])
def test_what_was_joined_is_the_same_when_it_is_joined_again(license: str, other: str) -> None:
    joined = join_licenses([license, other])
    assert join_licenses([joined, other]) == join_licenses([joined, license]) == joined
    assert joined.count("(") == joined.count(")")


@pytest.mark.parametrize(
    ("licenses", "joined"),
    [
        (["", ""], ""),
        (["MIT", "", "Apache-2.0 AND MIT"], "MIT AND Apache-2.0"),
        (["MIT OR ISC", "MIT"], "(MIT OR ISC) AND MIT"),
        (["MIT", TERMS], TERMS),
        ([TERMS, TERMS], TERMS),
        ([TERMS, MORE_TERMS], f"{TERMS} {MORE_TERMS}"),
        ([f"{TERMS} {MORE_TERMS}", TERMS], f"{TERMS} {MORE_TERMS}"),
    ],
)
def test_what_is_made_of_several_models_is_under_all_their_terms(
    licenses: list[str], joined: str
) -> None:
    assert join_licenses(licenses) == joined


def test_a_model_file_states_its_licence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(Segmenter(make_spec().model_copy(update={"license": TERMS})), path)
    assert license_of(str(path)) == TERMS


def test_a_checkpoint_made_from_dinov3_is_under_its_licence(tmp_path: Path) -> None:
    tensors = of_hugging_face(torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True))
    assert license_of(str(write_folder(tmp_path / "dinov2", tensors))) == ""
    del tensors["embeddings.position_embeddings.weight"]
    changed = {"model_type": "eomt_dinov3", "architectures": None}
    folder = write_folder(tmp_path / "dinov3", tensors, **changed)
    assert license_of(str(folder)).startswith("DINOv3 License")


def test_the_bundled_models_are_not_for_commercial_use_and_the_encoder_is() -> None:
    assert "CC BY-NC" in (terms_of_use(license_of("street")) or "")
    assert "CC BY-NC" in (terms_of_use(license_of("street-tiny")) or "")
    assert license_of("dinov2-small") == "Apache-2.0 AND MIT"


def test_weights_that_timm_downloads_have_the_licence_that_it_states() -> None:
    pytest.importorskip("timm")
    assert license_of("timm:vit_base_patch16_224.mae") == "cc-by-nc-4.0"
    assert terms_of_use(license_of("timm:vit_small_patch14_dinov2.lvd142m")) is None
    assert license_of("timm:no_such_model.tag") == ""


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="no model 'dinov2-smal', did you mean 'dinov2-small'"):
        license_of("dinov2-smal")
