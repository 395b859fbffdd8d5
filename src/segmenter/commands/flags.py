"""Options as flags: each options object is flattened, and its flags are shown under one title."""

from dataclasses import make_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from segmenter import options
from segmenter.commands.arguments import convert_bands
from segmenter.runtimes.table import Precision, RuntimeName


@cache
def flat(title: str) -> Parameter:
    """Make a flag of each field of an options object; one title is one group."""
    return Parameter(name="*", group=Group.create_ordered(title))


def _retyped(kind: type, **types: Any) -> type:
    """Return options whose fields have other types, such as the choices of a table."""
    declared = [(name, type_, getattr(kind, name)) for name, type_ in types.items()]
    return make_dataclass(
        kind.__name__,
        declared,
        bases=(kind,),
        namespace={"__module__": __name__},  # else it is taken for one of Python's own
        frozen=True,
        kw_only=True,
    )


if TYPE_CHECKING:
    ComputeFlags = SharedCompute = options.Compute
    BandFlags, FitDataFlags = options.BandChoice, options.FitData
else:
    _Bands = Annotated[
        tuple[int, ...] | Literal["all"] | None,
        Parameter(converter=convert_bands, n_tokens=-1, consume_multiple=1),
    ]
    BandFlags, FitDataFlags = (
        _retyped(each, bands=_Bands) for each in (options.BandChoice, options.FitData)
    )
    ComputeFlags = _retyped(options.Compute, runtime=RuntimeName | None, precision=Precision | None)
    # For commands without a flag for merging tokens, or with one for each model.
    SharedCompute = _retyped(
        ComputeFlags, merge_threshold=Annotated[float | None, Parameter(parse=False)]
    )

_MODEL = (
    "Model: a bundled name such as `street`, a model file, `hf:owner/name`, or, where no "
    "weights are needed, an exported file."
)
Model = Annotated[str, Parameter(help=_MODEL)]
ScoredModel = Annotated[
    str, Parameter(help=f"{_MODEL} A folder of label maps, as `predict` saves them, is scored too.")
]
Data = Annotated[options.Data, flat("Data")]
Bands = Annotated[BandFlags, flat("Data")]
FitData = Annotated[FitDataFlags, flat("Data")]
Pairs = Annotated[options.Pairs, flat("Data")]
ScoredData = Annotated[options.ScoredData, flat("Data")]
Views = Annotated[options.Views, flat("Evaluation protocol")]
Sizes = Annotated[options.Sizes, flat("Sizes")]
Labelling = Annotated[options.Labelling, flat("Labels")]
ServedLabels = Annotated[options.ServedLabels, flat("Labels")]
ExtraMetrics = Annotated[options.ExtraMetrics, flat("More metrics")]
Device = Annotated[options.Device, flat("Computation")]
Compute = Annotated[ComputeFlags, flat("Computation")]
Report = Annotated[options.Report, flat("Output")]
Output = Annotated[options.Output, flat("Output")]
DrawnOutput = Annotated[options.DrawnOutput, flat("Output")]
Video = Annotated[options.VideoOptions, flat("Videos")]
Maps = Annotated[options.MapOptions, flat("Maps")]
Parts = Annotated[options.Parts, flat("Large batches")]
