"""What several tests need: tiny models and images, and the real data where it is at hand."""

import gc
import logging
import os
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.options import Compute
from segmenter.runtimes import devices
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from segmenter.spelling import messages_name
from tests.helpers.command_line import TINY_RUN
from tests.helpers.data_sets import write_data_set
from tests.helpers.downloads import Server
from tests.helpers.models import make_spec
from tests.helpers.paths import SHARED
from tests.helpers.skips import NOT_HERE

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

logging.getLogger("torch.__trace").disabled = True  # else it writes pages for each exported model
torch.set_num_threads(1)  # tiny models on a busy machine: more threads only wait for each other
gc.disable()  # until all tests are collected
# A busy machine may hold up any example.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Keep modules and tests out of garbage collections: they stay until the end."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _hidden_gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests without the marker `gpu` compute on the CPU, whatever the machine has."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(devices, "_is_there", lambda _: False)


@pytest.fixture(autouse=True)
def _unsynced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests of `segmenter.files` wait until the disk has what they write."""
    if "files" not in request.path.parts:
        monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True, scope="session")
def _messages_of_the_command_line() -> Iterator[None]:
    """Messages name options as flags, also where a test calls a function of the package."""
    with messages_name("flags"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests compile stays with them; what users have compiled is not taken."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def camvid() -> Path:
    """The CamVid folder; the test is skipped where it is not at hand."""
    folder = SHARED / "data" / "camvid"
    if not folder.is_dir():
        pytest.skip(f"{NOT_HERE}: the CamVid data set at {folder}")
    return folder


@pytest.fixture
def tiny_model() -> Segmenter:
    """A random three-class model with a linear decoder, in eval mode."""
    return Segmenter(make_spec()).eval()


@pytest.fixture
def image() -> np.ndarray:
    """A colourful 60 x 90 picture, uint8 RGB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A three-class data set with four images in each of train and val."""
    return write_data_set(tmp_path / "data")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set, a model of its classes and a recipe."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    save(Segmenter(make_spec()).eval(), "model.safetensors")
    save(Segmenter(make_spec()).eval(), "data/start.safetensors")
    Path("tiny.yaml").write_text(TINY_RUN.format(root="data"))
    return tmp_path


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` computes in torch: another runtime takes longer to open a model."""

    def opened(model: str, compute: Compute) -> Runtime:
        return open_runtime(model, replace(compute, runtime="torch"))

    monkeypatch.setattr("segmenter.extras.checking.check_data_set.open_runtime", opened)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of one file."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _failed_if_missing(report: Report) -> Report:
    """Make a skip for want of what CI installs a failure there."""
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if is_skip and "SEGMENTER_CI" in os.environ and NOT_HERE not in str(report.longrepr):
        report.longrepr, report.outcome = f"a skip in CI: {report.longrepr}", "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test in CI that is skipped, but for what no machine can be made to have."""
    return _failed_if_missing((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module in CI that is skipped as a whole."""
    return _failed_if_missing((yield))
