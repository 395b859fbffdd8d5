"""Parts of other libraries that those do not promise to keep, and that this package needs.

Each test names the versions that it was tried with and the module that needs the part.
"""

import asyncio
import importlib
import inspect
import io
import pickle
import platform

import pytest
import torch


def gone(what: str, version: str, *, tried: str, needed_in: str) -> str:
    """What a failure says."""
    return (
        f"{what} of version {version} is not what it was in {tried}; "
        f"change {needed_in}, or bound the version in pyproject.toml"
    )


UNPICKLER = {
    "tried": "Python 3.11.7, 3.12.1 and 3.13.0",
    "needed_in": "segmenter.checkpoints.foreign.pickle.reader",
}


class Asked(dict):
    """Notes which opcodes are looked up."""

    def __init__(self, *content: object) -> None:
        super().__init__(*content)
        self.opcodes: list[int] = []

    def __getitem__(self, opcode: int) -> object:
        self.opcodes.append(opcode)
        return super().__getitem__(opcode)


def test_the_unpickler_of_python_looks_each_opcode_up_in_its_dispatch() -> None:
    told = gone("pickle._Unpickler", platform.python_version(), **UNPICKLER)
    data = pickle.dumps([1, "two"], protocol=2)
    unpickler = pickle._Unpickler(io.BytesIO(data))
    unpickler.dispatch = Asked(pickle._Unpickler.dispatch)
    assert unpickler.load() == [1, "two"]
    found = bytes(unpickler.dispatch.opcodes)
    assert (found[:1], found[-1:]) == (pickle.PROTO, pickle.STOP), told
    assert pickle.APPENDS in found, told


@pytest.mark.parametrize(
    "name", ["append", "find_class", "_instantiate", "persistent_load", "pop_mark", "read", "stack"]
)
def test_the_unpickler_of_python_has_the_parts_that_are_replaced_or_used(name: str) -> None:
    unpickler = pickle._Unpickler(io.BytesIO(pickle.dumps(1)))
    unpickler.load()
    told = gone(f"pickle._Unpickler.{name}", platform.python_version(), **UNPICKLER)
    assert hasattr(unpickler, name), told


@pytest.mark.parametrize(
    "name",
    [
        *("connection_made", "on_response_complete", "pause_writing", "resume_writing"),
        *("send_400_response", "conn", "cycle", "loop", "transport"),
    ],
)
def test_uvicorns_protocol_has_the_steps_of_a_connection(name: str) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    h11_impl = pytest.importorskip("uvicorn.protocols.http.h11_impl")
    from uvicorn.server import ServerState

    loop = asyncio.new_event_loop()
    try:
        config = uvicorn.Config(lambda: None, log_config=None)
        protocol = h11_impl.H11Protocol(config, ServerState(), {}, loop)
    finally:
        loop.close()
    told = gone(
        f"uvicorn.protocols.http.h11_impl.H11Protocol.{name}",
        uvicorn.__version__,
        tried="uvicorn 0.35.0 and 0.54.0",
        needed_in="segmenter.extras.serving.server",
    )
    assert hasattr(protocol, name), told


def test_torch_takes_the_store_that_whoever_started_the_processes_made() -> None:
    name = "TORCHELASTIC_USE_AGENT_STORE"
    told = gone(
        name, torch.__version__, tried="torch 2.14.1", needed_in="segmenter.training.launch"
    )
    assert name in inspect.getsource(importlib.import_module("torch.distributed.rendezvous")), told
