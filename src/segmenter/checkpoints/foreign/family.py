"""Describe the code bases, and derive a model's spec from the shapes of its tensors."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.rstrudel.variant import Variant
from segmenter.checkpoints.foreign.tensors import Rules, Tensors, rename, split_off
from segmenter.classes import Classes, ClassInfo
from segmenter.classes.colors import distinct_colors
from segmenter.data.published import set_of_count
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import ARCHITECTURES, HALF
from segmenter.model.decoders import LinearDecoderSpec, MaskTransformerSpec
from segmenter.model.protocol import EvaluationProtocol
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import EncoderSpec, ModelSpec, Normalization, SizePolicy

_MAX_UNNAMED_CLASSES = 4096


class ForeignFile(NamedTuple):
    """A checkpoint of another code base that is not yet identified."""

    path: Path
    state: Mapping[str, object]
    """Its table of weights, as stubs."""
    content: Mapping[str, object]
    """Everything that the file holds."""
    classes: Classes | None = None
    """Classes to use instead of what the file or the number of classes says."""
    variant: Variant | None = None
    """Replaces the `variant.yml` beside a file of the paper's code."""
    base: Path | None = None
    """The encoder that a file adds a decoder or differences to."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A code base: how its checkpoints are recognised, and what their shapes do not say."""

    name: str
    origin: str
    """Provenance of a model, with `{}` for the name of its file."""
    marks: frozenset[str]
    """Tensors that all of its models have, beside one of `heads`."""
    heads: tuple[str, ...]
    dropped: str
    """Pattern of the names of tensors that are not used."""
    rules: Rules
    """Renames its tensors to our names."""
    encoder: dict[str, Any]
    """Fields of `EncoderSpec` that shapes do not say."""
    decoder: dict[str, Any]
    """Fields of `MaskTransformerSpec` that shapes do not say."""
    size_policy: SizePolicy
    normalization: Normalization = HALF

    def matches(self, state: Collection[str]) -> bool:
        """Return whether tensors of these names are a Segmenter of this code base."""
        return all(mark in state for mark in self.marks) and any(
            head in state for head in self.heads
        )

    def rename(self, tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
        """Rename tensors to our names; return those kept, and the names of those dropped."""
        kept, dropped = split_off(tensors, self.dropped)
        return rename(kept, self.rules), dropped

    def make_model(
        self,
        file: ForeignFile,
        tensors: Tensors,
        dropped: tuple[str, ...],
        protocol: Callable[[EncoderSpec, int], EvaluationProtocol],
        listed: Callable[[int], Classes | None] = lambda _: None,
    ) -> "ForeignModel":
        """Make a model from tensors with our names.

        Args:
            file: The checkpoint.
            tensors: All tensors of the model.
            dropped: Names, in the file, of tensors that are not used.
            protocol: Returns the protocol for an encoder and a number of classes.
            listed: Returns the classes that the file names, if their number is this.

        Raises:
            UserError: If it is not a whole Segmenter, or `file.classes` are of another number.
        """
        source = str(file.path)
        encoder, decoder, count = describe(
            tensors, source, encoder=self.encoder, decoder=self.decoder
        )
        chosen, notes = choose_classes(count, file.classes, listed(count), source)
        spec = whole_spec(
            source,
            encoder=encoder,
            decoder=decoder,
            size_policy=self.size_policy,
            classes=chosen,
            normalization=self.normalization,
            protocol=protocol(encoder, count),
            provenance=f"imported from {self.origin.format(file.path.name)}",
        )
        return ForeignModel(self.name, spec, tensors, dropped, notes)


@dataclass(frozen=True)
class ForeignModel:
    """A Segmenter of another code base: its spec, and its weights under our names."""

    family: str
    spec: ModelSpec
    tensors: Tensors
    """Views of the bytes of the file, where possible."""
    dropped: tuple[str, ...]
    """Names, in the file, of tensors that are not used."""
    notes: tuple[str, ...] = ()
    """Assumptions that were made, beside that of `windows`."""
    windows: Callable[[int], EvaluationProtocol] | None = None
    """The protocol of windows of a side, in pixels, where that of `spec` is assumed; None: the file
    or its code base says it."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Return a line for each assumption that was made."""
        if self.windows is None:
            return self.notes
        protocol = self.spec.protocol
        apart = "" if protocol.stride is None else f", {protocol.stride} apart,"
        return (
            *self.notes,
            f"the file does not state its image size: windows of {protocol.window} pixels{apart} "
            "are assumed; if it was trained at another size, give it with `segmenter convert "
            "--window N`",
        )

    def with_window(self, side: int, source: str) -> "ForeignModel":
        """Return the model with windows of `side` pixels instead of those that are assumed.

        Raises:
            UserError: If none are assumed, or the model takes no windows of that side.
        """
        if self.windows is None:
            raise UserError(
                f"{source} is a checkpoint of {self.family} with known windows: omit --window "
                "here, and give it to `segmenter predict` for others"
            )
        spec = whole_spec(source, **dict(self.spec) | {"protocol": self.windows(side)})
        return replace(self, spec=spec, windows=None)

    def build(self, source: str, device: str | torch.device = "cpu") -> Segmenter:
        """Make the model, in eval mode and float32, with memory of its own.

        Raises:
            UserError: If a tensor is missing, unexpected, of another shape or kind, or not finite.
        """
        model_file.check_dtypes(self.tensors, source)
        owned = {
            name: torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)
            for name, tensor in self.tensors.items()
        }
        return model_file.assemble(self.spec, owned, source, device)


def describe(
    tensors: Tensors, source: str, *, encoder: dict[str, Any], decoder: dict[str, Any]
) -> tuple[EncoderSpec, LinearDecoderSpec | MaskTransformerSpec, int]:
    """Encoder, decoder and number of classes, off the shapes of tensors with our names.

    Args:
        tensors: All of a model.
        source: What to call them.
        encoder: What shapes do not say about the encoder.
        decoder: What shapes do not say about a mask transformer.

    Raises:
        UserError: If a tensor that says it is missing, or no such model can be.
    """
    encoder_spec = describe_encoder(tensors, source, encoder)
    if "decoder.class_tokens" not in tensors:
        num_classes = shape_of(tensors, source, "decoder.project.weight", 2)[0]
        return encoder_spec, LinearDecoderSpec(), num_classes
    _, num_classes, dim = shape_of(tensors, source, "decoder.class_tokens", 3)
    given = {"dim": dim, **_block_fields(tensors, source, "decoder", dim), **decoder}
    try:
        return encoder_spec, MaskTransformerSpec.model_validate(given), num_classes
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EncoderSpec)}") from None


def describe_encoder(tensors: Tensors, source: str, given: dict[str, Any]) -> EncoderSpec:
    """Describe an encoder, off the shapes of tensors with our names.

    Args:
        tensors: All of a model.
        source: What to call them.
        given: What shapes do not say, or what replaces what they say.

    Raises:
        UserError: If a tensor that says it is missing, or no such encoder can be.
    """
    width, channels, patch, _ = shape_of(tensors, source, "encoder.patch_embed.weight", 4)
    has_table = given.get("position", "table") != "rotary"
    fields = {
        "patch_size": patch,
        "embed_dim": width,
        "in_channels": channels,
        "num_prefix_tokens": shape_of(tensors, source, "encoder.prefix_tokens", 3)[1],
        "table_grid": shape_of(tensors, source, "encoder.position_table", 4)[2:]
        if has_table
        else None,
        "patch_bias": "encoder.patch_embed.bias" in tensors,
        **_block_fields(tensors, source, "encoder", width),
        **_gated_fields(tensors, source),
    }
    fields["architecture"] = name_architecture(**fields)
    try:
        return EncoderSpec.model_validate(fields | given)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EncoderSpec)}") from None


def shape_of(tensors: Tensors, source: str, name: str, num_axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Raises:
        UserError: If it is missing, is empty, or has another number of axes.
    """
    if name not in tensors or tensors[name].ndim != num_axes:
        raise UserError(f"{source} does not fit a Segmenter: no {num_axes}-D {name}")
    if 0 in tensors[name].shape:
        raise UserError(f"{source} does not fit a Segmenter: {name} is empty")
    return tuple(tensors[name].shape)


def _block_fields(tensors: Tensors, source: str, part: str, width: int) -> dict[str, Any]:
    """Describe the blocks of the encoder or the decoder."""
    hidden = shape_of(tensors, source, f"{part}.blocks.0.mlp.expand.weight", 2)[0]
    return {
        "depth": _count_blocks(tensors, part),
        "mlp_ratio": hidden / width,
        "qkv_bias": f"{part}.blocks.0.attention.qkv.bias" in tensors,
    }


def _gated_fields(tensors: Tensors, source: str) -> dict[str, Any]:
    """Describe layer scale and a gated MLP of the encoder."""
    fields: dict[str, Any] = {"layer_scale": "encoder.blocks.0.scale1.gamma" in tensors}
    width, hidden = shape_of(tensors, source, "encoder.blocks.0.mlp.reduce.weight", 2)
    if shape_of(tensors, source, "encoder.blocks.0.mlp.expand.weight", 2)[0] == 2 * hidden:
        fields |= {"mlp": "swiglu", "mlp_ratio": hidden / width}
    return fields


def whole_spec(source: str, **fields: Any) -> ModelSpec:
    """Return the description of a model, as it was found.

    Raises:
        UserError: If its parts do not go together, or a number is out of range.
    """
    try:
        return ModelSpec(**fields)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, ModelSpec)}") from None


def name_architecture(
    *, embed_dim: int, depth: int, patch_size: int, num_prefix_tokens: int, **_others: object
) -> str:
    """Name an encoder of these sizes as timm does, or else by the sizes."""
    for name in sorted(ARCHITECTURES, reverse=True):  # of two image sizes, the larger one
        spec = ARCHITECTURES[name][0]
        sizes = (spec.embed_dim, spec.depth, spec.patch_size, spec.num_prefix_tokens)
        is_plain = not spec.layer_scale and spec.mlp == "gelu"
        if sizes == (embed_dim, depth, patch_size, num_prefix_tokens) and is_plain:
            return name
    return f"vit_width{embed_dim}_depth{depth}_patch{patch_size}"


def choose_classes(
    num_classes: int, given: Classes | None, listed: Classes | None, source: str
) -> tuple[Classes, tuple[str, ...]]:
    """Return the classes of a model: those given, those of the file, or those of the data set.

    Returns:
        The classes, and a note where nothing says what they are.

    Raises:
        UserError: If another number of classes is given.
    """
    if given is not None:
        if len(given.classes) != num_classes:
            raise UserError(
                f"{source} has {num_classes} classes, and --classes gives {len(given.classes)} of "
                "them"
            )
        return given, ()
    if listed is not None and len(listed) == num_classes:
        return listed, ()
    known = set_of_count(num_classes)
    if known is not None:
        return known.classes(), ()
    if num_classes > _MAX_UNNAMED_CLASSES:
        raise UserError(
            f"{source} has {num_classes} classes without names; give them with `segmenter convert "
            f"{source} model.safetensors --classes FILE`"
        )
    classes = tuple(
        ClassInfo(name=f"class-{index}", color=tuple(color.tolist()), values=(index,))
        for index, color in enumerate(distinct_colors(num_classes))
    )
    note = (
        f"nothing says what the {num_classes} classes are: they are called class-0 to "
        f"class-{num_classes - 1}; give names and colours with `segmenter convert --classes FILE`"
    )
    return Classes(classes=classes, ignore=(255,) if num_classes <= 255 else ()), (note,)


def _count_blocks(tensors: Tensors, part: str) -> int:
    pattern = re.compile(rf"{part}\.blocks\.(\d{{1,6}})\.")
    numbers = [int(found[1]) for name in tensors if (found := pattern.match(name))]
    return max(numbers, default=-1) + 1
