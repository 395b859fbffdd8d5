"""One code base with one model, in a process of its own: labels an image for each line `go`.

    python peer_process.py SIDE MODEL FOLDER

Started by peers.py, each side with the interpreter of its own environment. Before it says `ready`
it has labelled the image twice and put the label map into FOLDER; a side that is not ours also puts
its random weights there, which ours is given to show that all do the same work.
"""

import argparse
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE, NUM_CLASSES, SEED = 512, 150, 0
Label = Callable[[np.ndarray], np.ndarray]
"""From an image, RGB (height, width, 3), uint8, to its label map (height, width)."""


class Size(NamedTuple):
    """What differs between the encoders."""

    dim: int
    num_heads: int


SIZES = {"vit-s": Size(384, 6), "vit-b": Size(768, 12)}
MODELS = tuple(f"{size}-{decoder}" for size in SIZES for decoder in ("linear", "mask"))
WEIGHTS = {"paddleseg": "paddleseg.pdparams", "mmsegmentation": "mmsegmentation.pth"}
"""Files of the other code bases' random weights, in the folder of a model."""


def main() -> None:
    """Get ready, then answer each line with how long an image took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", help="paddleseg, mmsegmentation, or RUNTIME:PRECISION of ours")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # where libraries say what they like
    size, decoder = SIZES[given.model[:5]], given.model[6:]
    image = make_image()
    if given.side == "paddleseg":
        label = paddleseg(size, decoder, given.folder)
    elif given.side == "mmsegmentation":
        label = mmsegmentation(size, decoder, given.folder)
    else:
        label = ours(*given.side.split(":"), given.folder)
    label(image)
    np.save(given.folder / f"{given.side}.npy", label(image))
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        label(image)
        seconds = {"wall": time.perf_counter() - start, "cpu": time.process_time() - used}
        print(json.dumps(seconds), file=answers, flush=True)


def make_image() -> np.ndarray:
    """Squares of random colours: the same image for all."""
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def ours(runtime: str, precision: str, folder: Path) -> Label:
    """Our package, with PaddleSeg's random weights."""
    from segmenter.checkpoints import load
    from segmenter.inference import Predictor

    model = load(folder / WEIGHTS["paddleseg"])
    return Predictor(model, runtime=runtime, precision=precision)


def paddleseg(size: Size, decoder: str, folder: Path) -> Label:
    """PaddleSeg's model as in its configs/segmenter, and its own normalisation and inference.

    One window as large as the image is what its sliding window comes to, without the sums of it,
    which would cost more. The encoder opens a file of weights when it is built: it gets one, with
    a random position table; all other weights are as the model draws them.
    """
    import paddle
    import paddleseg.transforms as T
    from paddleseg.core.infer import inference
    from paddleseg.models import LinearSegmenter, MaskSegmenter
    from paddleseg.models.backbones.vision_transformer import VisionTransformer

    paddle.seed(SEED)
    start = folder / "start.pdparams"
    table = paddle.randn((1, (SIDE // 16) ** 2 + 1, size.dim)) * 0.02
    paddle.save({"pos_embed": table}, str(start))
    encoder = VisionTransformer(
        img_size=SIDE,
        patch_size=16,
        embed_dim=size.dim,
        depth=12,
        num_heads=size.num_heads,
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.1,
        final_norm=True,
        pretrained=str(start),
    )
    if decoder == "linear":
        model = LinearSegmenter(NUM_CLASSES, encoder)
    else:
        model = MaskSegmenter(
            NUM_CLASSES, encoder, size.dim, 2, size.num_heads, h_drop_path_rate=0.1
        )
    model.eval()
    paddle.save(model.state_dict(), str(folder / WEIGHTS["paddleseg"]))
    prepare = T.Compose([T.Normalize()], to_rgb=False)

    @paddle.no_grad()
    def label(image: np.ndarray) -> np.ndarray:
        data = prepare({"img": image, "trans_info": [], "gt_fields": []})
        image = paddle.to_tensor(data["img"][None])
        found, _ = inference(model, image, trans_info=data["trans_info"])
        return found.numpy()[0, 0]

    return label


def mmsegmentation(size: Size, decoder: str, folder: Path) -> Label:
    """MMSegmentation's model as in its configs/segmenter, with the test pipeline of that config.

    The image is seen whole: what its sliding window comes to, and quicker.
    """
    # mmcv-lite comes without compiled operators, which none of Segmenter's layers uses.
    operators = types.ModuleType("mmcv.ops")
    operators.__getattr__ = _no_operator  # type: ignore[method-assign]
    sys.modules["mmcv.ops"] = operators
    import mmseg
    import torch
    from mmengine import Config
    from mmseg.apis import inference_model, init_model

    torch.manual_seed(SEED)
    name = "fcn" if decoder == "linear" else "mask"
    configs = Path(mmseg.__file__).parent / ".mim/configs/segmenter"
    config = Config.fromfile(str(configs / f"segmenter_vit-s_{name}_8xb1-160k_ade20k-512x512.py"))
    changes: dict[str, Any] = {
        "backbone": {"embed_dims": size.dim, "num_heads": size.num_heads},
        "decode_head": {"in_channels": size.dim, "channels": size.dim},
        "test_cfg": {"mode": "whole"},
    }
    if decoder == "mask":
        changes["decode_head"] |= {"embed_dims": size.dim, "num_heads": size.num_heads}
    config.merge_from_dict({"model": changes})
    model = init_model(config, device="cpu")
    model.init_weights()
    torch.save({"state_dict": model.state_dict()}, folder / WEIGHTS["mmsegmentation"])

    def label(image: np.ndarray) -> np.ndarray:
        found = inference_model(model, np.ascontiguousarray(image[:, :, ::-1]))  # it takes BGR
        return found.pred_sem_seg.data[0].numpy()

    return label


def _no_operator(name: str) -> type:
    """A class of that name that can do nothing; what Python itself asks of modules is absent."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


if __name__ == "__main__":
    main()
