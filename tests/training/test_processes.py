"""Several processes train as one does. Two gloo processes on the CPU, started as a user's are."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segmenter import UserError
from segmenter.api import run_training as run_training_module
from segmenter.options import Execution
from segmenter.recipe import Recipe
from segmenter.training.numbered_runs import claim_folder, newest_run
from segmenter.training.processes import (
    SINGLE_PROCESS,
    Processes,
    check_division,
    processes_from_env,
)
from tests.helpers.data_sets import write_data_set
from tests.helpers.ports import free_port
from tests.helpers.runs import make_recipe, run_training, weights
from tests.helpers.trajectories import assert_same_trajectory, drive, trace
from tests.training.driver import read_trace

RANDOM = {
    "model": {"drop_path": 0.3, "decoder": {"kind": "mask", "dim": 64}},
    "augment": {"color": "segmenter", "scale": [0.5, 2.0]},
    "optimizer": {"clip_grad_norm": 1.0},
    "ema_decay": 0.9,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images to train on, and five to score on: no even share."""
    return write_data_set(tmp_path / "data", num_images=5)


def drive_by_torchrun(recipe: Recipe, folder: Path, *arguments: str) -> list[int]:
    """Train as on two machines: two torchruns with a process each, which meet at a port."""
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(recipe.to_yaml())
    port = free_port()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    torchrun += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--local-addr", "127.0.0.1"]
    torchrun += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--shutdown-timeout", "600"]
    command = [*torchrun, "-m", "tests.training.driver", "--trace", f"{folder}.trace"]
    command += ["train", str(file), "--out", str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    agents = [
        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) for _ in range(2)
    ]
    try:
        return [agent.wait(timeout=900) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()


def scores(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if "val/miou" in line]


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["mask", "joined-class-tokens", "eomt", "pmt"])
def test_one_process_two_and_two_parts_follow_one_trajectory(root: Path, decoder: str) -> None:
    settings = {"mask": {"dim": 64}, "pmt": {"blocks": 2, "features": 2}}.get(
        decoder, {"blocks": 2}
    )
    model = {**RANDOM["model"], "decoder": {"kind": decoder, **settings}}
    long = RANDOM | {"model": model, "schedule": {"steps": 20}, "evaluate_every": 10}
    long |= {"loss": {"queries": {"points": 500}}}
    runs = {
        "one": (1, 1, ()),
        "two": (2, 1, ()),
        "parts": (1, 2, ()),
        "shards": (2, 1, ["--fsdp"]),
    }
    for name, (count, accumulate, flags) in runs.items():
        recipe = make_recipe(root, **long, accumulate=accumulate)
        assert drive(recipe, root / name, count, *flags) == 0
    one = trace(root / "one", 1)
    assert len(one) == 20
    for name, (count, *_) in runs.items():
        assert_same_trajectory(one, trace(root / name, count))
        # Each image is scored once, whatever the number of processes.
        assert scores(root / name) == [
            pytest.approx(line, abs=1e-3) for line in scores(root / "one")
        ]
        for key, tensor in weights(root / name).items():
            torch.testing.assert_close(tensor, weights(root / "one")[key], atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--fsdp"]], ids=["copies", "shards"])
def test_a_signal_to_one_process_stops_all_at_one_step_and_they_go_on_to_the_same_bits(
    root: Path, flags: list[str]
) -> None:
    recipe = make_recipe(root, **RANDOM, schedule={"steps": 8}, evaluate_every=4)
    assert drive(recipe, root / "unbroken", 2, *flags) == 0
    to_one = ["--at", "3", "--send", str(int(signal.SIGTERM)), "--rank", "1"]
    assert drive(recipe, root / "broken", 2, *flags, *to_one) == 143
    assert [len(read_trace(root / f"broken.{rank}")) for rank in (0, 1)] == [3, 3]
    assert (root / "broken/checkpoints/step-00000003").is_dir()
    assert drive(recipe, root / "broken", 2, *flags, "--resume") == 0
    assert trace(root / "unbroken", 2) == trace(root / "broken", 2)
    for name, tensor in weights(root / "broken").items():
        assert torch.equal(tensor, weights(root / "unbroken")[name])


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(root: Path) -> None:
    recipe = make_recipe(root, **RANDOM, schedule={"steps": 14})
    assert drive(recipe, root / "two", 2) == 0
    stop = ["--at", "4", "--send", str(int(signal.SIGTERM))]
    assert drive(recipe, root / "broken", 2, "--fsdp", *stop) == 143
    assert drive(recipe, root / "broken", 1, "--resume") == 0
    whole, first = read_trace(root / "broken.0"), trace(root / "two", 2)
    for step in range(5, 15):
        positions, loss = first[step - 1]
        assert whole[step]["positions"] == positions
        assert float.fromhex(whole[step]["loss"]) == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_torchruns_on_two_machines_follow_one_process_and_save_when_one_is_told_to_stop(
    root: Path, capfd: pytest.CaptureFixture
) -> None:
    recipe = make_recipe(root, **RANDOM, schedule={"steps": 12}, evaluate_every=6)
    assert drive(recipe, root / "one", 1) == 0
    to_one_torchrun = ["--at", "4", "--send", str(int(signal.SIGTERM)), "--rank", "1"]
    assert drive_by_torchrun(recipe, root / "two", *to_one_torchrun, "--to-parent") == [1, 1]
    done = [len(read_trace(root / f"two.{rank}")) for rank in (0, 1)]
    assert done[0] == done[1] < 12
    assert (root / f"two/checkpoints/step-{done[0]:08}").is_dir()
    assert capfd.readouterr().err.count("everything is saved") == 1
    assert drive_by_torchrun(recipe, root / "two", "--resume") == [0, 0]
    assert_same_trajectory(trace(root / "one", 1), trace(root / "two", 2))


@pytest.mark.slow
def test_no_process_steps_where_the_loss_of_one_is_nan(
    root: Path, capfd: pytest.CaptureFixture
) -> None:
    recipe = make_recipe(root, **RANDOM, schedule={"steps": 3}, save_every=1, data={"val": None})
    assert drive(recipe, root / "run", 2, "--nan", "3", "--rank", "1") == 0
    assert capfd.readouterr().err.count("loss nan, gradient norm nan: not finite, no weight") == 1
    before, after = (
        (root / f"run/checkpoints/step-0000000{step}/model.safetensors").read_bytes()
        for step in (2, 3)
    )
    assert before == after


@pytest.mark.slow
def test_what_is_wrong_in_one_process_ends_all_with_one_line(
    root: Path, capfd: pytest.CaptureFixture
) -> None:
    image = root / "images/val/photo-1.png"
    image.write_bytes(image.read_bytes()[:-60])  # the second process scores it
    recipe = make_recipe(root, **RANDOM, evaluate_every=1)
    assert drive(recipe, root / "run", 2) == 2
    said = capfd.readouterr().err
    assert len([line for line in said.splitlines() if line.startswith("segmenter: ")]) == 1
    assert "photo-1.png" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("status", [0, 2])
def test_the_processes_of_a_run_get_its_folder_whatever_else_starts_meanwhile(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path] = []

    def launched(recipe: Recipe, _count: int, arguments: list[str]) -> int:
        told.append(Path(arguments[arguments.index("--out") + 1]))
        folders = [told[0], claim_folder(recipe.name)]
        for folder in folders[1 if status else 0 :]:
            (folder / "recipe.yaml").write_text(recipe.to_yaml())
        return status

    monkeypatch.setattr(run_training_module, "_launch", launched)
    recipe = make_recipe(Path("data"))
    ended = run_training(recipe, None, "cpu", devices=2)
    assert (ended.status, [ended.folder]) == (status, told)
    assert ended.folder.exists() == (status == 0)
    assert newest_run(recipe.name)[0] != ended.folder


@pytest.mark.slow
def test_devices_starts_the_processes_of_a_run(root: Path, capfd: pytest.CaptureFixture) -> None:
    recipe = make_recipe(root, schedule={"steps": 2})
    assert run_training(recipe, root / "run", "cpu", devices=2).status == 0
    said = capfd.readouterr()
    assert said.out == f"{root / 'run/last.safetensors'}\n"
    assert said.err.count(", 2 processes, a copy of the model in each") == 1


@pytest.mark.parametrize(
    ("batch_size", "parts", "count", "problem"),
    [
        (4, 1, 5, "5 processes are more than the 4 crops of a batch"),
        (4, 1, 3, r"batch_size \(4\) must be a multiple of processes x accumulate \(3 x 1\)"),
        (6, 2, 2, r"batch_size \(6\) must be a multiple of processes x accumulate \(2 x 2\)"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(
    batch_size: int, parts: int, count: int, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        check_division(batch_size, parts, count)


def test_processes_that_cannot_have_a_gpu_each_are_refused(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(data_set)
    with pytest.raises(UserError, match="2 processes cannot share the device 'cuda:1'"):
        run_training(recipe, data_set / "run", "cuda:1", devices=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes need a GPU each, but 1 are here"):
        run_training(recipe, data_set / "run", "cuda", devices=2)
    with pytest.raises(UserError, match="--fsdp is for several processes"):
        run_training(recipe, data_set / "run", execution=Execution(fsdp=True))
    assert not (data_set / "run").exists()


def test_who_this_process_is_comes_from_the_environment(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes_from_env() == SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="start through torchrun, or unset WORLD_SIZE"):
        processes_from_env()
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes_from_env() == Processes(rank=2, count=4, local_rank=0, local_count=4)
    with pytest.raises(UserError, match="omit --devices"):
        run_training(make_recipe(data_set), data_set / "run", devices=2)
