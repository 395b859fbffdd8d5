"""What all importers share: tensors out of stubs, and what can be read off their shapes."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.pickle.stubs import Array, TensorClaim
from segmenter.classes import Classes, ClassInfo
from segmenter.data.published import set_of_count
from segmenter.drawing.palette import distinct_colors
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import ARCHITECTURES, HALF
from segmenter.model.decoders import LinearDecoderSpec, MaskTransformerSpec
from segmenter.model.protocol import Protocol
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import EncoderSpec, ModelSpec, Normalization

Tensors = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]
"""Patterns of names, and what becomes of them."""

TIMM_BLOCK: Rules = (
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.expand."),
    (r"\.mlp\.fc2\.", ".mlp.reduce."),
)
"""The inside of a transformer block in timm, and in the code bases that took it from there."""

_MAX_UNNAMED_CLASSES = 4096


class ForeignFile(NamedTuple):
    """A checkpoint of another code base, before it is known whose."""

    path: Path
    state: Mapping[str, object]
    """The table of weights, as stubs."""
    content: Mapping[str, object]
    """All that the file holds."""
    classes: Classes | None = None
    """Those to take instead of what the file or the number of classes says."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A code base: what its Segmenters are known by, and what their shapes do not say."""

    name: str
    origin: str
    """Where a model comes from, in words, with `{}` for the name of its file."""
    marks: frozenset[str]
    """Tensors that each of its models has; it also has one of `heads`."""
    heads: tuple[str, ...]
    dropped: str
    """A pattern of tensors that the model has no use for."""
    rules: Rules
    """From its names to ours."""
    encoder: dict[str, Any]
    """Fields of the encoder that shapes do not say."""
    decoder: dict[str, Any]
    """The same of a mask transformer."""
    fit: Literal["pad-crop", "pad-squeeze", "stretch"]
    normalization: Normalization = HALF

    def wrote(self, state: Mapping[str, object]) -> bool:
        """Return whether a table of weights is one of its Segmenters."""
        return self.marks <= state.keys() and any(head in state for head in self.heads)

    def rename(self, tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
        """Give tensors our names; return those kept, and the names of those dropped."""
        kept, dropped = split_off(tensors, self.dropped)
        return rename(kept, self.rules), dropped

    def publish(
        self,
        file: ForeignFile,
        tensors: Tensors,
        dropped: tuple[str, ...],
        protocol: Callable[[EncoderSpec, int], Protocol],
        listed: Callable[[int], Classes | None] = lambda _: None,
    ) -> "Published":
        """Describe a model by its tensors, which have our names.

        Args:
            file: Where they come from.
            tensors: All of them.
            dropped: The names there of those that are not taken.
            protocol: Makes the protocol, of the encoder and the number of classes.
            listed: The classes that the file says, if it says so many.

        Raises:
            UserError: If it is no whole Segmenter, or `file.classes` are of another number.
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
            fit=self.fit,
            classes=chosen,
            normalization=self.normalization,
            protocol=protocol(encoder, count),
            provenance=f"imported from {self.origin.format(file.path.name)}",
        )
        return Published(self.name, spec, tensors, dropped, notes)


@dataclass(frozen=True)
class Published:
    """A Segmenter of another code base: what it is, and its weights under our names."""

    family: str
    spec: ModelSpec
    tensors: Tensors
    """Over the bytes of the file, where they can be."""
    dropped: tuple[str, ...]
    """Tensors of the file that the model has no use for, by their names there."""
    notes: tuple[str, ...] = ()
    """What had to be assumed."""

    def build(self, source: str, device: str | torch.device = "cpu") -> Segmenter:
        """Make the model, in eval mode and float32, with memory of its own.

        Raises:
            UserError: If a tensor is missing, unexpected, of another shape, or not finite.
        """
        owned = {
            name: torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)
            for name, tensor in self.tensors.items()
        }
        return model_file.assemble(self.spec, owned, source, device)


def to_tensors(table: Mapping[str, object], path: Path) -> Tensors:
    """The arrays and tensors of a table of stubs; PaddlePaddle may wrap them as (name, array).

    Raises:
        UserError: If one is not what it claims, or all together claim more than the file holds.
    """
    claims: dict[str, Array | TensorClaim] = {}
    for name, value in table.items():
        if type(value) is tuple and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        if isinstance(value, Array | TensorClaim) and isinstance(name, str):
            claims[name] = value
    tensors = {}
    left = path.stat().st_size
    for name, claim in claims.items():
        try:
            left -= claim.num_bytes
            if left < 0:
                raise ValueError("more, with the tensors before it, than the whole file holds")
            tensors[name] = claim.tensor()
        except Exception as error:  # what a stub holds may be anything
            reason = str(error)[:200] or type(error).__name__
            raise UserError(f"{path}: the tensor {name[:100]} is {reason}; refused") from None
    return tensors


def rename(tensors: Tensors, rules: Rules) -> Tensors:
    """Give tensors other names; each rule is tried in turn."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def split_off(tensors: Tensors, pattern: str) -> tuple[Tensors, tuple[str, ...]]:
    """Tensors whose names do not match, and the names of those that do."""
    dropped = {name: tensor for name, tensor in tensors.items() if re.match(pattern, name)}
    kept = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    return kept, tuple(dropped)


def split_position_table(
    positions: Tensor, num_prefix: int, source: str, grid: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Split (1, prefix + patches, dim) into prefix positions and (1, dim, rows, columns).

    Raises:
        UserError: If the patches are no such grid, or no square one where none is given.
    """
    if positions.ndim != 3 or positions.shape[0] != 1 or 0 in positions.shape:
        raise UserError(f"{source}: the position table has shape {tuple(positions.shape)}")
    prefix, patches = positions[:, :num_prefix], positions[:, num_prefix:]
    side = math.isqrt(patches.shape[1])
    rows, columns = grid or (side, side)
    if rows * columns != patches.shape[1] or patches.shape[1] == 0:
        shape = f"grid of {rows} x {columns}" if grid else "square grid"
        raise UserError(
            f"{source}: {patches.shape[1]} patch positions are no {shape} "
            f"(after {num_prefix} prefix tokens); the weights fit another encoder"
        )
    return prefix, patches.transpose(1, 2).unflatten(2, (rows, columns))


def join_prefix(tensors: Tensors, source: str, grid: tuple[int, int] | None = None) -> Tensors:
    """Turn class token, distillation token and position table of an encoder into ours."""
    tensors = dict(tensors)
    tokens = [
        tensors.pop(name) for name in ("encoder.cls_token", "encoder.dist_token") if name in tensors
    ]
    if not tokens or "encoder.pos_embed" not in tensors:
        raise UserError(f"{source} has no encoder with class token and position table")
    tensors["encoder.prefix_tokens"] = join_tokens(tokens, source)
    positions = tensors.pop("encoder.pos_embed")
    tensors["encoder.prefix_positions"], tensors["encoder.position_table"] = split_position_table(
        positions, len(tokens), source, grid
    )
    return tensors


def join_tokens(tokens: list[Tensor], source: str) -> Tensor:
    """Put class token, distillation token and registers into one (1, tokens, dim).

    Raises:
        UserError: If one is no (1, tokens, dim), or of another width than the first.
    """
    shapes = [tuple(token.shape) for token in tokens]
    if any(len(shape) != 3 or shape[0] != 1 or shape[2] != shapes[0][2] for shape in shapes):
        raise UserError(f"{source}: the prefix tokens have the shapes {shapes}")
    return torch.cat(tokens, dim=1)


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

    def shape(name: str, num_axes: int) -> tuple[int, ...]:
        if name not in tensors or tensors[name].ndim != num_axes:
            raise UserError(f"{source} does not fit a Segmenter: no {num_axes}-D {name}")
        if 0 in tensors[name].shape:
            raise UserError(f"{source} does not fit a Segmenter: {name} is empty")
        return tuple(tensors[name].shape)

    def block_fields(part: str, width: int) -> dict[str, Any]:
        return {
            "depth": _count_blocks(tensors, part),
            "mlp_ratio": shape(f"{part}.blocks.0.mlp.expand.weight", 2)[0] / width,
            "qkv_bias": f"{part}.blocks.0.attention.qkv.bias" in tensors,
        }

    width, channels, patch, _ = shape("encoder.patch_embed.weight", 4)
    rows, columns = shape("encoder.position_table", 4)[2:]
    num_prefix = shape("encoder.prefix_tokens", 3)[1]
    fields = {
        "patch_size": patch,
        "embed_dim": width,
        "in_channels": channels,
        "num_prefix_tokens": num_prefix,
        "table_grid": (rows, columns),
        "patch_bias": "encoder.patch_embed.bias" in tensors,
        **block_fields("encoder", width),
    }
    fields["architecture"] = name_architecture(**fields)
    try:
        encoder_spec = EncoderSpec.model_validate(fields | encoder)
        if "decoder.class_tokens" not in tensors:
            return encoder_spec, LinearDecoderSpec(), shape("decoder.project.weight", 2)[0]
        _, num_classes, dim = shape("decoder.class_tokens", 3)
        given = {"dim": dim, **block_fields("decoder", dim), **decoder}
        return encoder_spec, MaskTransformerSpec.model_validate(given), num_classes
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, EncoderSpec)}") from None


def whole_spec(source: str, **fields: Any) -> ModelSpec:
    """The description of a model, as it was found.

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
    """The classes of a model: those given, those the file says, or the data set's of that count.

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
        raise UserError(f"{source} has {num_classes} classes without names; give --classes FILE")
    classes = tuple(
        ClassInfo(name=f"class-{index}", color=tuple(color.tolist()), values=(index,))
        for index, color in enumerate(distinct_colors(num_classes))
    )
    note = (
        f"nothing says what the {num_classes} classes are: they are called class-0 to "
        f"class-{num_classes - 1}; give names and colours with --classes FILE"
    )
    return Classes(classes=classes, ignore=(255,) if num_classes <= 255 else ()), (note,)


def _count_blocks(tensors: Tensors, part: str) -> int:
    pattern = re.compile(rf"{part}\.blocks\.(\d{{1,6}})\.")
    numbers = [int(found[1]) for name in tensors if (found := pattern.match(name))]
    return max(numbers, default=-1) + 1
