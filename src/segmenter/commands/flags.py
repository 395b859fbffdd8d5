"""Options as flags: each options object is flattened, and its flags are shown under one title."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated

from cyclopts import Group, Parameter

from segmenter import options
from segmenter.runtimes.table import Precision, RuntimeName


@cache
def flat(title: str) -> Parameter:
    """Make a flag of each field of an options object; one title is one group."""
    return Parameter(name="*", group=Group.create_ordered(title))


@dataclass(frozen=True, kw_only=True)
class ComputeFlags(options.Compute):
    """Computation, with the runtimes and precisions there are."""

    runtime: RuntimeName | None = None
    precision: Precision | None = None


@dataclass(frozen=True, kw_only=True)
class SharedCompute(ComputeFlags):
    """Computation without a flag for merging tokens."""

    merge_threshold: Annotated[float | None, Parameter(parse=False)] = None


Model = Annotated[
    str,
    Parameter(
        help="Model: a bundled name such as `street`, a model file, `hf:owner/name`, or, where no "
        "weights are needed, an exported file."
    ),
]
Data = Annotated[options.Data, flat("Data")]
Views = Annotated[options.Views, flat("Evaluation protocol")]
Labelling = Annotated[options.Labelling, flat("Labels")]
ExtraMetrics = Annotated[options.ExtraMetrics, flat("More metrics")]
Device = Annotated[options.Device, flat("Computation")]
Compute = Annotated[ComputeFlags, flat("Computation")]
Report = Annotated[options.Report, flat("Output")]
Output = Annotated[options.Output, flat("Output")]
Video = Annotated[options.VideoOptions, flat("Videos")]
Parts = Annotated[options.Parts, flat("Large batches")]
