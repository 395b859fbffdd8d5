"""Models to and from the hub, through its real client, against a hub on this machine."""

import sys
from pathlib import Path

import pytest
import torch

import segmenter
from segmenter import UserError
from segmenter.checkpoints import save
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.model import Segmenter
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.encoder import Encoder
from segmenter.model.spec import EncoderSpec
from tests.helpers.command_line import TINY_RUN, refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.dino import random_dinov3
from tests.helpers.eomt import GOLDEN_EOMT, INDEX, of_hugging_face, write_folder, write_shards
from tests.helpers.hub import FakeHub, Repository
from tests.helpers.models import make_spec

# The client's own, of what it uploads files with.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model file in the working directory."""
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec()).eval(), "tiny.safetensors")
    return "tiny.safetensors"


def test_what_is_pushed_is_loaded_again(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture
) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    said = capsys.readouterr().out
    assert "made: hf:me/tiny, private" in said
    repository = hub.repositories["me/tiny"]
    assert repository.private
    assert set(repository.files) == {".gitattributes", "README.md", "model.safetensors"}
    assert repository.files["model.safetensors"] == Path(model).read_bytes()
    given, back = segmenter.load(model), segmenter.load("hf:me/tiny")
    assert given.spec == back.spec
    for name, tensor in given.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_cached_model_costs_one_question(hub: FakeHub, model: str) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    segmenter.load("hf:me/tiny")
    hub.asked.clear()
    segmenter.Predictor("hf:me/tiny", runtime="torch")
    assert hub.asked == ["HEAD /me/tiny/resolve/main/model.safetensors"]


def test_a_name_without_hf_asks_no_network(hub: FakeHub, model: str) -> None:
    segmenter.load(model)
    segmenter.load("street")
    assert run("models") == 0
    assert hub.asked == []


@pytest.mark.usefixtures("hub")
def test_a_run_starts_from_a_model_of_the_hub(model: str) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    write_data_set(Path("data"))
    recipe = TINY_RUN.format(root="data").replace("data/start.safetensors", "hf:me/tiny")
    Path("tiny.yaml").write_text(recipe)
    assert run("train", "tiny.yaml") == 0
    assert segmenter.load("runs/tiny/last.safetensors").spec.recipe["model"]["weights"] == (
        "hf:me/tiny"
    )


def test_a_run_starts_from_an_encoder_of_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    state = random_dinov3()
    repository = hub.repositories["meta/dinov3"] = Repository()
    folder = write_shards(tmp_path / "dinov3", state)
    repository.add({path.name: path.read_bytes() for path in folder.iterdir()})
    spec, _ = ARCHITECTURES["vit_small_patch16_dinov3_qkvb"]
    sizes = {"embed_dim": 128, "depth": 3, "mlp_ratio": 2.0}
    encoder = Encoder(EncoderSpec.model_validate(spec.model_dump() | sizes))
    assert "fresh" not in load_encoder_weights(encoder, "hf:meta/dinov3")
    assert torch.equal(encoder.norm.weight, state["norm.weight"])


def test_without_the_client_a_name_is_refused_in_one_line(
    model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for arguments in (("push", model, "hf:me/tiny"), ("card", "hf:me/tiny")):
        assert "pip install 'vit-segmenter[hub]'" in refused(capsys, *arguments)


def test_a_revision_is_loaded_even_after_the_repository_went_on(hub: FakeHub, model: str) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    repository = hub.repositories["me/tiny"]
    first = repository.main
    save(Segmenter(make_spec(5)).eval(), "five.safetensors")
    assert run("push", "five.safetensors", "hf:me/tiny", "--overwrite") == 0
    assert len(segmenter.load("hf:me/tiny").spec.classes) == 5
    assert len(segmenter.load(f"hf:me/tiny@{first}").spec.classes) == 3


def test_another_model_or_card_is_replaced_only_with_overwrite(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture
) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    repository = hub.repositories["me/tiny"]
    before = repository.main
    capsys.readouterr()
    assert run("push", model, "hf:me/tiny") == 0
    assert "nothing, all is there already" in capsys.readouterr().out
    save(Segmenter(make_spec(5)).eval(), "five.safetensors")
    error = refused(capsys, "push", "five.safetensors", "hf:me/tiny")
    assert "another model.safetensors and another README.md" in error
    Path("card.md").write_text("Mine.")
    error = refused(capsys, "push", model, "hf:me/tiny", "--card", "card.md")
    assert "another README.md;" in error
    assert repository.main == before
    assert run("push", model, "hf:me/tiny", "--card", "card.md", "--overwrite") == 0
    assert repository.files["README.md"] == b"Mine."


def test_what_somebody_else_pushes_meanwhile_is_not_replaced(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture
) -> None:
    hub.repositories["me/tiny"] = repository = Repository()
    hub.before_commit = lambda: repository.add({"model.safetensors": b"theirs"})
    assert "412, the repository has changed" in refused(capsys, "push", model, "hf:me/tiny")
    assert repository.files["model.safetensors"] == b"theirs"


def test_a_public_repository_must_be_asked_for(hub: FakeHub, model: str) -> None:
    assert run("push", model, "hf:me/tiny", "--public") == 0
    assert not hub.repositories["me/tiny"].private


def test_without_a_network_the_cache_is_taken_and_listed(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("push", model, "hf:me/tiny") == 0
    segmenter.load("hf:me/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert len(segmenter.load("hf:me/tiny").spec.classes) == 3
    capsys.readouterr()
    assert run("models") == 0
    listed = capsys.readouterr().out
    assert "hf:me/tiny" in listed
    assert "street" in listed
    assert hub.asked == []
    error = refused(capsys, "card", "hf:me/other")
    assert "HF_HUB_OFFLINE" in error


def test_damage_on_the_way_is_noticed(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture
) -> None:
    data = bytearray(Path(model).read_bytes())
    data[-1] ^= 1
    hub.repositories["me/tiny"] = Repository()
    hub.repositories["me/tiny"].add({"model.safetensors": bytes(data)})
    assert "does not match its SHA-256" in refused(capsys, "card", "hf:me/tiny")
    Path(model).write_bytes(data)
    assert "does not match its SHA-256" in refused(capsys, "push", model, "hf:me/new")
    assert "me/new" not in hub.repositories


def test_an_eomt_of_hugging_face_is_read_with_its_settings(hub: FakeHub, tmp_path: Path) -> None:
    weights = torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True)
    folder = write_folder(tmp_path / "eomt", of_hugging_face(weights))
    repository = hub.repositories["them/eomt"] = Repository()
    repository.add({path.name: path.read_bytes() for path in folder.iterdir()})
    assert segmenter.load("hf:them/eomt").spec == segmenter.load(folder).spec


def test_weights_in_several_files_are_fetched_and_kept(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True)
    folder = write_shards(tmp_path / "eomt", of_hugging_face(weights))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    repository = hub.repositories["them/eomt"] = Repository()
    repository.add(files)
    assert segmenter.load("hf:them/eomt").spec == segmenter.load(folder).spec
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert segmenter.load("hf:them/eomt").spec == segmenter.load(folder).spec


def test_a_shard_that_the_repository_lacks_is_named(hub: FakeHub, tmp_path: Path) -> None:
    weights = torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True)
    folder = write_shards(tmp_path / "eomt", of_hugging_face(weights))
    repository = hub.repositories["them/eomt"] = Repository()
    repository.add({INDEX: (folder / INDEX).read_bytes()})
    with pytest.raises(UserError, match=r"^hf:them/eomt: .* lists model-00001-of-00002.safetens"):
        segmenter.load("hf:them/eomt")


def test_an_eomt_of_tue_mps_is_read(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = hub.repositories["them/eomt"] = Repository()
    repository.add({"pytorch_model.bin": (GOLDEN_EOMT / "pytorch_model.bin").read_bytes()})
    assert segmenter.load("hf:them/eomt").spec.decoder.kind == "eomt"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert segmenter.load("hf:them/eomt").spec.decoder.kind == "eomt"


def test_code_in_a_repository_is_neither_fetched_nor_run(hub: FakeHub, tmp_path: Path) -> None:
    weights = torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True)
    remote = {"AutoModel": "modeling_evil.Model"}
    folder = write_folder(tmp_path / "eomt", of_hugging_face(weights), auto_map=remote)
    repository = hub.repositories["them/evil"] = Repository()
    repository.add({path.name: path.read_bytes() for path in folder.iterdir()})
    repository.add({"modeling_evil.py": b"raise SystemExit('evil')"})
    with pytest.raises(UserError, match=r"auto_map., which is never run"):
        segmenter.load("hf:them/evil")
    assert not any("modeling_evil.py" in asked for asked in hub.asked)


def test_a_gated_encoder_is_asked_for_in_one_line(
    hub: FakeHub, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.repositories["meta/dinov3"] = Repository(gated=True)
    hub.repositories["meta/dinov3"].add({"model.safetensors": b""})
    monkeypatch.delenv("HF_TOKEN")
    given = str(GOLDEN_EOMT / "pytorch_model.bin"), str(tmp_path / "out.safetensors")
    assert "terms must be accepted" in refused(
        capsys, "convert", *given, "--base", "hf:meta/dinov3"
    )


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"PK\x03\x04", b""])
@pytest.mark.usefixtures("model")
def test_only_a_model_file_of_ours_is_read(
    hub: FakeHub, capsys: pytest.CaptureFixture, content: bytes
) -> None:
    hub.repositories["me/tiny"] = Repository()
    hub.repositories["me/tiny"].add({"model.safetensors": content, "model.pth": content})
    assert "not a model of this package" in refused(capsys, "card", "hf:me/tiny")
    Path("other.pth").write_bytes(content)
    assert "segmenter convert" in refused(capsys, "push", "other.pth", "hf:me/new")


REFUSALS = {
    "hf:me/absent": "no such model, or a private one",
    "hf:me/private": "no such model, or a private one",
    "hf:me/gated": "terms must be accepted",
    "hf:me/empty": "it holds none of model.safetensors, model.safetensors.index.json, pytorch_mod",
    "hf:me/empty@v9": "no such revision",
    "hf:me": "hf:owner/name@revision, got 'hf:me'",
    "hf:me/a/b": "hf:owner/name@revision",
    "hf:me/../x": "hf:owner/name@revision",
    "hf:me/empty@../../x": "hf:owner/name@revision",
    "hf:me/empty@": "hf:owner/name@revision",
    "hf:me/a--b": "hf:me/a--b: ",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_hub_does_not_give_is_one_line(
    hub: FakeHub, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub.repositories["me/private"] = Repository(private=True)
    hub.repositories["me/gated"] = Repository(gated=True)
    hub.repositories["me/empty"] = Repository()
    monkeypatch.delenv("HF_TOKEN")
    assert REFUSALS[name] in refused(capsys, "card", name)


def test_a_push_that_may_not_be_is_one_line(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "403, no rights here" in refused(capsys, "push", model, "hf:others/tiny")
    assert "main branch" in refused(capsys, "push", model, "hf:me/tiny@v1")
    assert "not a model file" in refused(capsys, "push", __file__, "hf:me/tiny")
    assert "absent.md" in refused(capsys, "push", model, "hf:me/tiny", "--card", "absent.md")
    monkeypatch.delenv("HF_TOKEN")
    assert "`hf auth login`" in refused(capsys, "push", model, "hf:me/tiny")
    assert hub.repositories == {}


def test_a_hub_that_cannot_be_reached_is_one_line(
    hub: FakeHub, model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert "cannot be reached" in refused(capsys, "push", model, "hf:me/tiny")
    assert "cannot be reached" in refused(capsys, "card", "hf:me/tiny")
    assert hub.asked == []
