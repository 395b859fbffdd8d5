"""Turn PaddleSeg's training configs of Segmenter into fields of a recipe.

Sources: PaddleSeg 2.9 `configs/segmenter`, `paddleseg/models/segmenter.py`,
`paddleseg/models/backbones/vision_transformer.py`, `paddleseg/transforms/transforms.py`.
Where a key is missing, PaddleSeg's own default counts.
"""

import re
from pathlib import PurePath
from typing import Any

from segmenter.checkpoints.foreign.settings import Settings, show
from segmenter.data.published import SETS
from segmenter.errors import UserError
from segmenter.model.architectures import ARCHITECTURES
from segmenter.numbers import HEAD_DIM

_DECODERS = {"LinearSegmenter": "linear", "MaskSegmenter": "mask"}
_NAMED_ENCODERS = {
    f"ViT_{size}": f"vit_{size}"
    for size in (
        "base_patch16_224",
        "base_patch16_384",
        "base_patch32_384",
        "large_patch16_224",
        "large_patch16_384",
        "large_patch32_384",
    )
}
_DATA_SETS = {each.paddleseg: each for each in SETS.values() if each.paddleseg}
_OPTIMIZERS = {"sgd": "sgd", "SGD": "sgd", "adamw": "adamw", "AdamW": "adamw"}
_AUGREG = re.compile(r"(vit_(?:tiny|small|base|large)_patch\d+_\d+)_augreg\b")
_NORMALIZATIONS = {
    "half": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
_TRAIN, _VAL = "train_dataset.transforms", "val_dataset.transforms"


def is_paddleseg_config(content: dict[str, Any]) -> bool:
    """Return True if a config, merged over its bases, is one of PaddleSeg."""
    return isinstance(content.get("model"), dict) and "train_dataset" in content


def paddleseg_fields(settings: Settings, gpus: int) -> dict[str, Any]:
    """Return the fields of a recipe that a config says.

    Args:
        settings: The config; what has a counterpart is taken out of it.
        gpus: How many GPUs it was run on: its batch size is that of one.

    Raises:
        UserError: If model, encoder, optimiser or schedule have no counterpart, or the crop has no
            fixed size.
    """
    kind = settings.take_choice("model.type", "model.decoder", _DECODERS)
    decoder = {"kind": kind} | (_mask_transformer(settings) if kind == "mask" else {})
    model = _encoder(settings) | {"size_policy": "stretch", "decoder": decoder}
    augment, model["normalization"] = _augment(settings)
    _expect_loss(settings)
    schedule = _schedule(settings)
    lr = settings.take("lr_scheduler.learning_rate", "optimizer.lr")
    batch = settings.take_count("batch_size", f"batch_size, times {gpus} (GPUs)", default=1)
    return {
        "model": model,
        "data": _data(settings),
        "augment": augment,
        "optimizer": _optimizer(settings) | {"lr": lr},
        "schedule": schedule,
        "protocol": _protocol(settings, model["normalization"]),
        "batch_size": batch * gpus,
    }


def _encoder(settings: Settings) -> dict[str, Any]:
    prefix = "model.backbone"
    kinds = {"VisionTransformer": "", **_NAMED_ENCODERS}
    name = settings.take_choice(f"{prefix}.type", "model.encoder", kinds)
    if name:
        spec, _ = ARCHITECTURES[name]
        width, depth, patch = spec.embed_dim, spec.depth, spec.patch_size
        eps, size = 1e-6, int(name.rpartition("_")[2])
    else:
        eps = settings.take(f"{prefix}.epsilon", "model.encoder_layer_norm_eps", 1e-5)
        size = settings.take_count(f"{prefix}.img_size", "model.position_grid, in patches", 224)
        patch = settings.take_count(f"{prefix}.patch_size", "model.encoder", 16)
        width = settings.take_count(f"{prefix}.embed_dim", "model.encoder", 768)
        depth = settings.take_count(f"{prefix}.depth", "model.encoder", 12)
        settings.expect(f"{prefix}.num_heads", width // HEAD_DIM, default=12)
        settings.expect(f"{prefix}.mlp_ratio", 4, default=4)
        settings.expect(f"{prefix}.qkv_bias", True, default=False)
    settings.expect(f"{prefix}.final_norm", True, default=False)
    for dropped in ("drop_rate", "attn_drop_rate"):
        settings.expect(f"{prefix}.{dropped}", 0.0, default=0.0)
    weights, started = _weights(settings)
    name = name or _find_encoder(settings.source, width, patch, depth, started)
    fields = {
        "encoder": name,
        "weights": weights,
        "position_grid": size // patch,
        "position_resize": "bicubic",
        "encoder_layer_norm_eps": eps,
        "drop_path": settings.take(f"{prefix}.drop_path_rate", "model.drop_path", 0.0),
    }
    if depth < ARCHITECTURES[name][0].depth:
        fields["encoder_depth"] = depth
    return fields


def _weights(settings: Settings) -> tuple[str | None, str]:
    """Return the starting weights of the run, and timm's name of its encoder if it has one."""
    whole = settings.peek("model.pretrained")
    if isinstance(whole, str) and whole and "://" not in whole:
        return settings.take("model.pretrained", "model.weights"), ""
    found = _AUGREG.search(str(settings.peek("model.backbone.pretrained")))
    if found is None or found[1] not in ARCHITECTURES:
        return None, ""
    settings.take("model.backbone.pretrained", "model.weights, in timm's layout")
    return f"timm:{found[1]}.augreg_in21k_ft_in1k", found[1]


def _find_encoder(source: str, width: int, patch: int, depth: int, preferred: str) -> str:
    """Return the named ViT of these sizes; of several, the one trained on the largest images."""
    fitting = {
        name: spec.table_grid or (0, 0)
        for name, (spec, _) in ARCHITECTURES.items()
        if re.fullmatch(r"vit_[a-z]+_patch\d+_\d+", name)
        and (spec.embed_dim, spec.patch_size) == (width, patch)
        and spec.depth >= depth
    }
    if not fitting:
        raise UserError(
            f"{source}: model.backbone is {width} wide and {depth} blocks deep with patches of "
            f"{patch}; no supported encoder has this shape"
        )
    return preferred if preferred in fitting else max(fitting, key=lambda name: fitting[name])


def _mask_transformer(settings: Settings) -> dict[str, Any]:
    width = settings.take_count("model.h_embed_dim", "model.decoder.dim")
    settings.expect("model.h_num_heads", width // HEAD_DIM, default=None)
    settings.expect("model.h_mlp_ratio", 4, default=4)
    for dropped in ("h_drop_rate", "h_attn_drop_rate"):
        settings.expect(f"model.{dropped}", 0.0, default=0.0)
    return {
        "dim": width,
        "depth": settings.take_count("model.h_depth", "model.decoder.depth"),
        "qkv_bias": settings.take("model.h_qkv_bias", "model.decoder.qkv_bias", False),
        "drop_path": settings.take("model.h_drop_path_rate", "model.decoder.drop_path", 0.0),
    }


def _data(settings: Settings) -> dict[str, Any]:
    """Return the data set: a published one by name, or a folder with lists of files."""
    root = settings.take("train_dataset.dataset_root", "data.root")
    if not isinstance(root, str) or not root:
        raise UserError(f"{settings.source}: train_dataset.dataset_root names no folder")
    root = root.rstrip("/") or "/"
    kind = settings.peek("train_dataset.type")
    data: dict[str, Any] = {"root": root, "train": ["train"], "val": "val"}
    if isinstance(kind, str) and kind in _DATA_SETS:
        settings.take("train_dataset.type", "data.root")
        data_set = _DATA_SETS[kind]
        data["root"] = f"{data_set.name}:{root}"
        count = len(data_set.classes())
        for section in ("model", "train_dataset", "val_dataset"):
            settings.expect(f"{section}.num_classes", count, default=count)
    elif kind == "Dataset":
        settings.take("train_dataset.type", "data.root, with a classes.yaml")
    for section, split in (("train_dataset", "train"), ("val_dataset", "val")):
        path = settings.peek(f"{section}.{split}_path")
        if isinstance(path, str) and PurePath(path).parent == PurePath(root):
            name = PurePath(settings.take(f"{section}.{split}_path", f"data.{split}")).stem
            data[split] = [name] if split == "train" else name
    settings.expect("train_dataset.mode", "train", default="train")
    settings.expect("val_dataset.mode", "val", default="val")
    settings.expect("val_dataset.type", kind, default=kind)
    if str(settings.peek("val_dataset.dataset_root")).rstrip("/") == root:
        settings.take("val_dataset.dataset_root", "data.root")
    return data


def _augment(settings: Settings) -> tuple[dict[str, Any], str]:
    """Return the crops, and what they are normalised with."""
    crop = f"{_TRAIN}.RandomPaddingCrop"
    if f"{crop}.type" not in settings:
        raise UserError(
            f"{settings.source}: {_TRAIN} has no RandomPaddingCrop; training needs crops "
            "of a fixed size"
        )
    settings.take(f"{crop}.type", "augment.crop_size")
    fields: dict[str, Any] = {
        "crop_size": _square(settings, f"{crop}.crop_size", "augment.crop_size", 512),
        "scale": [1.0, 1.0],
        "flip": 0.0,
        "color": "none",
        "pad_value": "grey",
    }
    settings.expect(f"{crop}.im_padding_value", 127.5, default=127.5)
    settings.expect(f"{crop}.label_padding_value", 255, default=255)

    resize = f"{_TRAIN}.ResizeStepScaling"
    if settings.take(f"{resize}.type", "augment.scale"):
        fields["scale"] = [
            settings.take(f"{resize}.min_scale_factor", "augment.scale", 0.75),
            settings.take(f"{resize}.max_scale_factor", "augment.scale", 1.25),
        ]
        fields["scale_draw"] = "quarters"
        if settings.peek(f"{resize}.scale_step_size") == 0:
            settings.take(f"{resize}.scale_step_size", "augment.scale_draw: uniform")
            fields["scale_draw"] = "uniform"
        else:
            settings.expect(f"{resize}.scale_step_size", 0.25, default=0.25)
    flip = f"{_TRAIN}.RandomHorizontalFlip"
    if settings.take(f"{flip}.type", "augment.flip"):
        fields["flip"] = settings.take(f"{flip}.prob", "augment.flip", 0.5)
    vertical = f"{_TRAIN}.RandomVerticalFlip"
    if settings.take(f"{vertical}.type", "augment.flip_vertical"):
        fields["flip_vertical"] = settings.take(f"{vertical}.prob", "augment.flip_vertical", 0.1)
    distort = f"{_TRAIN}.RandomDistort"
    if settings.take(f"{distort}.type", "augment.color"):
        fields["color"] = "paddleseg"
        for change in ("brightness", "contrast", "saturation"):
            settings.expect(f"{distort}.{change}_range", 0.4, default=0.5)
            settings.expect(f"{distort}.{change}_prob", 0.5, default=0.5)
        settings.expect(f"{distort}.hue_range", 18, default=18)
        settings.expect(f"{distort}.hue_prob", 0.5, default=0.5)
        settings.expect(f"{distort}.sharpness_prob", 0, default=0)
    return fields, _normalization(settings, _TRAIN)


def _normalization(settings: Settings, transforms: str) -> str:
    """Return the name of mean and std; that of 0.5 if they are unknown or not given."""
    prefix = f"{transforms}.Normalize"
    settings.take(f"{prefix}.type", "model.normalization")
    mean = settings.peek(f"{prefix}.mean") or [0.5, 0.5, 0.5]
    std = settings.peek(f"{prefix}.std") or [0.5, 0.5, 0.5]
    for name, known in _NORMALIZATIONS.items():
        if known == (mean, std):
            settings.take(f"{prefix}.mean", "model.normalization")
            settings.take(f"{prefix}.std", "model.normalization")
            return name
    return "half"


def _expect_loss(settings: Settings) -> None:
    """Cross entropy over the labelled pixels is what a recipe has, if it says nothing else."""
    loss = "loss.types.CrossEntropyLoss"
    settings.expect(f"{loss}.type", "CrossEntropyLoss", default=None)
    settings.expect(f"{loss}.ignore_index", 255, default=255)
    settings.expect(f"{loss}.avg_non_ignore", True, default=True)
    settings.expect("loss.coef", [1], default=[1])


def _schedule(settings: Settings) -> dict[str, Any]:
    kinds = {"PolynomialDecay": ""}
    settings.take_choice("lr_scheduler.type", "schedule", kinds)
    settings.expect("lr_scheduler.warmup_start_lr", 0, default=0)
    return {
        "steps": settings.take_count("iters", "schedule.steps"),
        "warmup_steps": settings.take("lr_scheduler.warmup_iters", "schedule.warmup_steps", 0),
        "power": settings.take("lr_scheduler.power", "schedule.power", 0.9),
        "final_lr": settings.take("lr_scheduler.end_lr", "schedule.final_lr", 0.0),
    }


def _optimizer(settings: Settings) -> dict[str, Any]:
    name = settings.take_choice("optimizer.type", "optimizer.name", _OPTIMIZERS)
    fields: dict[str, Any] = {"name": name}
    if name == "sgd":
        fields["momentum"] = settings.take("optimizer.momentum", "optimizer.momentum", 0.9)
        fields["nesterov"] = settings.take("optimizer.use_nesterov", "optimizer.nesterov", False)
        decay = 0.0
    else:
        fields["betas"] = [
            settings.take("optimizer.beta1", "optimizer.betas", 0.9),
            settings.take("optimizer.beta2", "optimizer.betas", 0.999),
        ]
        decay = 0.01
    where = "optimizer.weight_decay (of matrices alone)"
    fields["weight_decay"] = settings.take("optimizer.weight_decay", where, decay)
    return fields


def _protocol(settings: Settings, normalization: str) -> dict[str, Any]:
    """Return PaddleSeg's evaluation protocol for this config."""
    protocol: dict[str, Any] = {"rules": "paddleseg"}
    if settings.take(f"{_VAL}.ResizeByShort.type", "protocol.short_side"):
        where = f"{_VAL}.ResizeByShort.short_size"
        protocol["short_side"] = settings.take_count(where, "protocol.short_side")
    if settings.take("test_config.is_slide", "protocol.window", False):
        for name, field in (("crop_size", "window"), ("stride", "stride")):
            protocol[field] = _square(settings, f"test_config.{name}", f"protocol.{field}")
    if settings.take("test_config.aug_eval", "protocol.flip", False):
        flip = settings.take("test_config.flip_horizontal", "protocol.flip", True)
        protocol["flip"] = flip
    scored = _normalization(settings, _VAL)
    if scored != normalization:
        raise UserError(
            f"{settings.source}: images are normalised in two ways: {_TRAIN}.Normalize is "
            f"{normalization}, {_VAL}.Normalize is {scored}"
        )
    return protocol


def _square(settings: Settings, name: str, field: str, default: int | None = None) -> int:
    """Return the side of a square that is given as [width, height].

    Raises:
        UserError: If it is not a square.
    """
    sides = settings.take(name, field, [default, default])
    if not isinstance(sides, list | tuple) or len(sides) != 2 or sides[0] != sides[1]:
        raise UserError(
            f"{settings.source}: {name} must be two equal sides, [512, 512] or the like; here "
            f"crops and windows are square; got {show(sides)}"
        )
    return sides[0]
