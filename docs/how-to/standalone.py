"""Label an image with an exported model, without the package that wrote it.

    python standalone.py street.onnx photo.jpg labels.png

Needs numpy, opencv-python-headless and pillow, and onnxruntime (openvino for a `.xml` file).
"""

import json
import sys

import cv2
import numpy as np
from PIL import Image, ImageOps

file, photo, out = sys.argv[1:]
if file.endswith(".xml"):
    import openvino

    graph = openvino.Core().read_model(file)
    facts = graph.get_rt_info(["segmenter"]).astype(str)
    compute = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
else:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map["segmenter"]

    def compute(batch: np.ndarray) -> list:
        """Run the graph, as OpenVINO's compiled model does when it is called."""
        return session.run(None, {"pixels": batch})


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bilinearly, without smoothing."""
    array = np.ascontiguousarray(array)
    resized = cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(height, width, -1)


def starts(length: int) -> list[int]:
    """Return where windows begin along a side; the last one ends where the side does."""
    return [*range(0, length - window, stride), length - window] if length > window else [0]


spec = json.loads(facts)["spec"]
protocol, classes, patch = spec["protocol"], spec["classes"], spec["encoder"]["patch_size"]
is_plain = protocol["scales"] == [1.0] and not protocol["flip"] and protocol["blend"] == "none"
is_plain = is_plain and protocol.get("rotations", 1) == 1
is_plain = is_plain and protocol.get("window_average", "logits") == "logits"
is_plain = is_plain and protocol.get("resize_filter", "bilinear") == "bilinear"
is_plain = is_plain and protocol.get("spacing", "stride") == "stride"
if not is_plain or protocol["small_image"] != "as-is" or spec["fit"] != "pad-crop":
    sys.exit("the protocol of this model has steps that this script lacks")

# 1. The image, upright and RGB, is resized to the short side that the model was made for.
image = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
height, width = image.shape[:2]
factor, short = 1.0, protocol["short_side"]
if short is not None:
    factor = min(short / min(height, width), protocol["max_ratio"] * short / max(height, width))
rows, columns = (max(1, int(side * factor + 0.5)) for side in (height, width))
image = resize(image.astype(protocol["resize_dtype"]), rows, columns)

# 2. The logits of a window, one for each patch, are resized to its pixels; overlaps are averaged.
window = protocol["window"] or max(rows, columns)
stride = protocol["stride"] or window
num_classes = len(classes["classes"]) + bool(classes["background"])
total, count = np.zeros((rows, columns, num_classes), np.float32), np.zeros((rows, columns, 1))
for top in starts(rows):
    for left in starts(columns):
        pixels = image[top : top + window, left : left + window]
        high, wide = pixels.shape[:2]
        logits = compute(pixels.transpose(2, 0, 1)[None].astype(np.float32))[0]
        padded = -(-high // patch) * patch, -(-wide // patch) * patch
        whole = resize(logits[0].transpose(1, 2, 0), *padded)
        total[top : top + high, left : left + wide] += whole[:high, :wide]
        count[top : top + high, left : left + wide] += 1

# 3. The mean is resized to the image; the class with the highest logit is the label of a pixel.
labels = resize((total / count).astype(np.float32), height, width).argmax(axis=2)
Image.fromarray(labels.astype(np.uint8)).save(out)
