"""The rows that the command line reads say what the classes behind them are."""

from typing import get_args

import pytest

from segmenter.extras.export.export_format import ExportFormat
from segmenter.extras.export.formats import FORMATS
from segmenter.runtimes.runtime import Runtime
from segmenter.runtimes.table import PRECISIONS, RUNTIME_NAMES, RUNTIMES, Precision, RuntimeName


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_row_loads_the_runtime_of_its_name(name: str) -> None:
    runtime = RUNTIMES[name].load()
    assert issubclass(runtime, Runtime)
    assert runtime.name == name


def test_the_command_line_offers_the_names_of_the_table() -> None:
    assert get_args(RuntimeName) == RUNTIME_NAMES
    assert get_args(Precision) == PRECISIONS


@pytest.mark.parametrize("name", FORMATS)
def test_each_row_loads_an_export_format(name: str) -> None:
    assert isinstance(FORMATS[name].load(), ExportFormat)
