"""Turn `variant.yml`, the record of a run of the paper's own code, into fields of a recipe.

Sources: rstrudel/segmenter `segm/train.py`, `segm/config.yml`, `segm/model/factory.py`,
`segm/optim`, `segm/data/base.py`.
"""

from typing import Any

from segmenter.checkpoints.foreign.rstrudel.variant import DATA_SETS
from segmenter.checkpoints.foreign.settings import Settings, show
from segmenter.errors import UserError
from segmenter.model.architectures import ARCHITECTURES
from segmenter.numbers import HEAD_DIM

_ENCODERS = {
    "vit_tiny_patch16_384": "vit_tiny_patch16_384",
    "vit_small_patch16_384": "vit_small_patch16_384",
    "vit_base_patch16_384": "vit_base_patch16_384",
    "vit_large_patch16_384": "vit_large_patch16_384",
    "vit_small_patch32_384": "vit_small_patch32_384",
    "vit_base_patch32_384": "vit_base_patch32_384",
    "vit_large_patch32_384": "vit_large_patch32_384",
    "vit_base_patch8_384": "vit_base_patch8_224",  # theirs is a file of their own
    "deit_base_distilled_patch16_384": "deit_base_distilled_patch16_384",
}
_TAGS = {
    "deit_base_distilled_patch16_384": "fb_in1k",
    "vit_large_patch32_384": "orig_in21k_ft_in1k",
}
_AUGREG_TAG = "augreg_in21k_ft_in1k"


def is_variant(content: dict[str, Any]) -> bool:
    """Return True if a config is a `variant.yml`."""
    return "net_kwargs" in content


def variant_fields(settings: Settings) -> dict[str, Any]:
    """Return the fields of a recipe in a `variant.yml`; keys with a counterpart are taken out.

    Raises:
        UserError: If encoder, decoder, data set, optimiser or schedule have no counterpart.
    """
    data_set = settings.take_choice("dataset_kwargs.dataset", "data.root", DATA_SETS)
    scoring = data_set.rstrudel
    assert scoring is not None  # it is in the table by that name
    count = len(data_set.classes())
    settings.expect("net_kwargs.n_cls", count, default=count)
    batch = settings.take_count("world_batch_size", "batch_size")
    steps_an_epoch = -(-data_set.counts["train"] // batch)
    epochs = settings.take_count(
        "algorithm_kwargs.num_epochs", f"schedule.steps, {steps_an_epoch} an epoch"
    )
    settings.expect("optimizer_kwargs.epochs", epochs, default=epochs)
    rate = settings.take_count(
        "algorithm_kwargs.eval_freq", f"evaluate_every, {steps_an_epoch} steps an epoch", default=1
    )
    settings.expect("amp", False, default=False)
    settings.expect("dataset_kwargs.split", "train", default="train")
    settings.expect("inference_kwargs.im_size", scoring.short_side, default=scoring.short_side)
    return {
        "model": _model(settings),
        "data": {
            "root": f"{data_set.name}:{data_set.default_root}",
            "train": ["train"],
            "val": "val",
        },
        "augment": {
            "crop_size": settings.take_count("dataset_kwargs.crop_size", "augment.crop_size"),
            "scale": [0.5, 2.0],
            "scale_draw": "uniform",
            "scale_base": settings.take_count("dataset_kwargs.image_size", "augment.scale_base"),
            "max_ratio": scoring.max_ratio,
            "flip": 0.5,
            "max_class_share": 0.75,
            "color": "segmenter",
            "pad_value": "mean",
        },
        "optimizer": _optimizer(settings),
        "schedule": _schedule(settings) | {"steps": steps_an_epoch * epochs},
        "protocol": {
            "rules": "segmenter",
            "short_side": scoring.short_side,
            "max_ratio": scoring.max_ratio,
            "window": settings.take_count("inference_kwargs.window_size", "protocol.window"),
            "stride": settings.take_count("inference_kwargs.window_stride", "protocol.stride"),
        },
        "batch_size": batch,
        "evaluate_every": rate * steps_an_epoch,
    }


def _model(settings: Settings) -> dict[str, Any]:
    name = settings.take_choice("net_kwargs.backbone", "model.encoder, model.weights", _ENCODERS)
    spec, _ = ARCHITECTURES[name]
    for key, here in (("d_model", spec.embed_dim), ("patch_size", spec.patch_size)):
        given = settings.take_count(f"net_kwargs.{key}", "model.encoder", here)
        if given != here:
            raise UserError(f"{settings.source}: net_kwargs.{key} is {given}, {name} has {here}")
    settings.expect("net_kwargs.n_heads", spec.embed_dim // HEAD_DIM, default=None)
    settings.expect("net_kwargs.dropout", 0.0, default=0.0)
    distilled = spec.num_prefix_tokens == 2
    settings.expect("net_kwargs.distilled", distilled, default=False)
    depth = settings.take_count("net_kwargs.n_layers", "model.encoder", spec.depth)
    kinds = {"vit": "half", "deit": "imagenet-rounded"}
    network = settings.take("net_kwargs.normalization", "model.normalization", "")
    normalization = settings.take_choice(
        "dataset_kwargs.normalization", "model.normalization", kinds, network
    )
    fields: dict[str, Any] = {
        "encoder": name,
        "weights": f"timm:{name}.{_TAGS.get(name, _AUGREG_TAG)}",
        "position_grid": _image_side(settings) // spec.patch_size,
        "position_resize": "bilinear",
        "encoder_layer_norm_eps": 1e-5,
        "drop_path": settings.take("net_kwargs.drop_path_rate", "model.drop_path", 0.0),
        "normalization": normalization,
        "size_policy": "pad-crop",
    }
    if depth < spec.depth:
        fields["encoder_depth"] = depth
    return fields | {"decoder": _decoder(settings, spec.embed_dim)}


def _image_side(settings: Settings) -> int:
    """Return the side of the square that the position table is made for."""
    sides = settings.take("net_kwargs.image_size", "model.position_grid, in patches")
    is_pair = isinstance(sides, list | tuple) and len(sides) == 2 and sides[0] == sides[1]
    if not is_pair or type(sides[0]) is not int or sides[0] < 1:
        raise UserError(
            f"{settings.source}: net_kwargs.image_size must be two equal whole numbers, "
            f"got {show(sides)}"
        )
    return sides[0]


def _decoder(settings: Settings, width: int) -> dict[str, Any]:
    kinds = {"linear": "linear", "mask_transformer": "mask"}
    prefix = "net_kwargs.decoder"
    kind = settings.take_choice(f"{prefix}.name", "model.decoder", kinds)
    if kind == "linear":
        return {"kind": kind}
    return {
        "kind": kind,
        "dim": width,
        "depth": settings.take_count(f"{prefix}.n_layers", "model.decoder.depth"),
        "qkv_bias": True,
        "drop_path": settings.take(f"{prefix}.drop_path_rate", "model.decoder.drop_path", 0.0),
        "dropout": settings.take(f"{prefix}.dropout", "model.decoder.dropout", 0.0),
        "projection_init": "scaled-normal",
    }


def _optimizer(settings: Settings) -> dict[str, Any]:
    prefix = "optimizer_kwargs"
    kinds = {"sgd": "nesterov", "nesterov": "nesterov", "momentum": "plain"}
    kind = settings.take_choice(f"{prefix}.opt", "optimizer.name, optimizer.nesterov", kinds)
    where = "optimizer.weight_decay (of matrices alone)"
    return {
        "name": "sgd",
        "lr": settings.take(f"{prefix}.lr", "optimizer.lr"),
        "momentum": settings.take(f"{prefix}.momentum", "optimizer.momentum", 0.9),
        "nesterov": kind == "nesterov",
        "weight_decay": settings.take(f"{prefix}.weight_decay", where, 0.0),
        "clip_grad_norm": settings.take(f"{prefix}.clip_grad", "optimizer.clip_grad_norm"),
    }


def _schedule(settings: Settings) -> dict[str, Any]:
    prefix = "optimizer_kwargs"
    settings.take_choice(f"{prefix}.sched", "schedule", {"polynomial": ""})
    settings.expect(f"{prefix}.poly_step_size", 1, default=1)
    return {
        "power": settings.take(f"{prefix}.poly_power", "schedule.power", 0.9),
        "final_lr": settings.take(f"{prefix}.min_lr", "schedule.final_lr", 0.0),
    }
