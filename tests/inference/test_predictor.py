"""The predictor equals a naive walk over views and windows, in float64."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.inference import row_bands as bands_module
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.resizing import ViewSize, mean_size, resized_size, view_sizes
from segmenter.inference.windows import window_starts
from segmenter.model import EvaluationProtocol, Segmenter
from tests.helpers.models import decided, make_spec
from tests.helpers.naive import (
    naive_resize,
    naive_softmax,
    orientations_of,
    oriented,
    turned_back,
)
from tests.helpers.small_memory import small_memory

PLAIN = EvaluationProtocol()
SLIDE = EvaluationProtocol(window=48, stride=32)
FULL = EvaluationProtocol(short_side=40, window=32, stride=24, flip=True, scales=(0.75, 1.5))
D4 = EvaluationProtocol(window=40, stride=24, symmetry="d4")


def make_model(num_classes: int = 3, **spec: object) -> Segmenter:
    """A random model whose logits differ more than those of usual random weights."""
    return decided(Segmenter(make_spec(num_classes, depth=1, **spec)))


def naive_probabilities(
    model: Segmenter, image: np.ndarray, protocol: EvaluationProtocol
) -> np.ndarray:
    """The whole protocol, one window at a time, in float64 but for the model itself."""
    height, width = image.shape[:2]
    total = np.zeros((len(model.spec.classes), height, width))
    for scale in protocol.scales:
        factor = scale
        if protocol.short_side is not None:
            factor = protocol.short_side * scale / min(height, width)
        size = (int(height * factor + 0.5), int(width * factor + 0.5))
        view = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        for turns, is_mirrored in orientations_of(protocol):
            seen = oriented(view, turns, is_mirrored)
            size_seen = seen.shape[:2]
            logits, count = np.zeros((len(total), *size_seen)), np.zeros(size_seen)
            window = protocol.window or max(size)
            for top in window_starts(size_seen[0], window, protocol.stride or window):
                for left in window_starts(size_seen[1], window, protocol.stride or window):
                    box = (slice(top, top + window), slice(left, left + window))
                    crop = torch.from_numpy(seen[box].transpose(2, 0, 1)[None].copy())
                    with torch.no_grad():
                        logits[:, *box] += model(model.normalize(crop))[0].double().numpy()
                    count[box] += 1
            merged = turned_back(logits / count, turns, is_mirrored)
            scores = naive_resize(merged, (height, width))
            total += naive_softmax(scores) if protocol.average == "probabilities" else scores
    num_views = len(protocol.scales) * len(orientations_of(protocol))
    return (
        total / num_views
        if protocol.average == "probabilities"
        else naive_softmax(total / num_views)
    )


SYMMETRIC = [PLAIN.model_copy(update={"rotations": 4}), D4]


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("protocol", [PLAIN, SLIDE, FULL, *SYMMETRIC], ids=repr)
def test_probabilities_equal_a_naive_reference(image, protocol, average) -> None:
    model = make_model()
    protocol = protocol.model_copy(update={"average": average})
    expected = naive_probabilities(model.eval(), image, protocol)
    probabilities = Predictor(model, protocol=protocol).probabilities(image)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("protocol", [PLAIN, SLIDE, FULL, D4], ids=["plain", "slide", "full", "d4"])
def test_labels_are_the_most_probable_classes(image, protocol, average) -> None:
    predictor = Predictor(make_model(), protocol=protocol.model_copy(update={"average": average}))
    labels, probabilities = predictor(image), predictor.probabilities(image)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=0))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert probabilities.dtype == np.float32


def test_two_calls_give_the_same_bits_even_for_a_model_in_training(image) -> None:
    model = make_model(decoder="linear")
    predictor = Predictor(model, protocol=FULL)
    first = predictor.probabilities(image)
    model.train()
    np.testing.assert_array_equal(predictor.probabilities(image), first)
    assert not model.training


def test_the_protocol_is_the_models_own_unless_given() -> None:
    spec = make_spec(depth=1).model_copy(update={"protocol": FULL})
    model = Segmenter(spec)
    assert Predictor(model).protocol == FULL
    assert Predictor(model, protocol=SLIDE).protocol == SLIDE


def test_flip_and_scales_replace_those_of_the_protocol() -> None:
    model = make_model()
    assert Predictor(model, flip=True, scales=[0.5, 1.0]).protocol == EvaluationProtocol(
        flip=True, scales=(0.5, 1.0)
    )
    assert not Predictor(model, protocol=FULL, flip=False).protocol.flip


def test_a_window_that_holds_the_image_equals_the_whole(image) -> None:
    model = make_model()
    whole = Predictor(model, protocol=PLAIN).probabilities(image)
    slide = Predictor(model, protocol=EvaluationProtocol(window=90, stride=10)).probabilities(image)
    np.testing.assert_array_equal(slide, whole)


@pytest.mark.parametrize("protocol", [PLAIN, SLIDE], ids=["plain", "slide"])
def test_with_flip_a_mirrored_image_gives_the_mirrored_result(image, protocol) -> None:
    predictor = Predictor(make_model(), protocol=protocol, flip=True)
    mirrored = predictor.probabilities(image[:, ::-1])
    np.testing.assert_allclose(mirrored[:, :, ::-1], predictor.probabilities(image), atol=1e-6)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", [(80, 56), (33, 64)])
def test_with_d4_a_turned_and_flipped_image_gives_the_turned_and_flipped_labels(
    image, size, turns, average
) -> None:
    image = np.resize(image, (*size, 3))
    predictor = Predictor(make_model(), protocol=D4.model_copy(update={"average": average}))
    labels, probabilities = predictor.labels_and_probabilities(image)
    for mirrored in (False, True):
        seen = oriented(image, turns, mirrored)
        found, of_turned = predictor(seen), predictor.probabilities(seen)
        back = turned_back(of_turned, turns, mirrored)
        np.testing.assert_allclose(back, probabilities, atol=2e-6)
        assert (turned_back(found[None], turns, mirrored)[0] != labels).mean() < 1e-3


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("symmetry", ["mirror", "flips", "d4"])
@pytest.mark.parametrize("size", [(80, 56), (33, 64)])
def test_labels_equal_those_of_the_mean_over_turned_images(image, size, symmetry, average) -> None:
    """Run each turned image on its own, turn its result back, average, take the highest."""
    image, model = np.resize(image, (*size, 3)), make_model()
    protocol = SLIDE.model_copy(update={"average": average})
    alone = Predictor(model, protocol=protocol)
    views = []
    predictor = Predictor(model, protocol=protocol, symmetry=symmetry)
    for turns, mirrored in orientations_of(predictor.protocol):
        seen = alone.probabilities(oriented(image, turns, mirrored)).astype(np.float64)
        views.append(turned_back(seen, turns, mirrored))
    powers = np.log(views) if average == "logits" else np.array(views)
    mean = powers.mean(axis=0)
    labels = predictor(image)
    assert len(views) == {"mirror": 2, "flips": 4, "d4": 8}[symmetry]
    chosen = np.take_along_axis(mean, labels[None].astype(np.int64), axis=0)[0]
    assert (mean.max(axis=0) - chosen).max() < 1e-5
    assert (labels == mean.argmax(axis=0)).mean() > 0.999


def test_symmetry_and_flip_set_the_same_fields() -> None:
    model = make_model()
    assert Predictor(model, symmetry="mirror").protocol == Predictor(model, flip=True).protocol
    d4 = Predictor(model, symmetry="d4").protocol
    assert (d4.flip, d4.rotations) == (True, 4)
    assert Predictor(model, protocol=d4, symmetry="none").protocol == PLAIN
    assert Predictor(model, flip=True, symmetry="d4").protocol == d4
    with pytest.raises(UserError, match="symmetry d4 means flip true, got false; give one of them"):
        Predictor(model, flip=False, symmetry="d4")
    with pytest.raises(UserError, match=r"'d3' is not a choice.*choose from none, mirror, flips"):
        Predictor(model, symmetry="d3")


@pytest.mark.parametrize("protocol", [PLAIN, SLIDE, FULL], ids=["plain", "slide", "full"])
def test_a_list_gives_what_its_images_give_alone(image, protocol) -> None:
    predictor = Predictor(make_model(), protocol=protocol)
    images = [image, image[::-1], image[:, :40], *[np.roll(image, i, axis=0) for i in range(10)]]
    for labels, one in zip(predictor(images), images, strict=True):
        assert labels.shape == one.shape[:2]
        assert (labels != predictor(one)).mean() < 1e-3
    assert predictor([]) == []


def test_batches_of_images_change_logits_by_next_to_nothing(image) -> None:
    predictor = Predictor(make_model(), protocol=PLAIN)
    batch = np.stack([image, image[::-1], image[:, ::-1]])
    with torch.inference_mode():
        together = predictor._scores(batch)
        alone = [predictor._scores(one[None]) for one in batch]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("protocol", [PLAIN, SLIDE], ids=["plain", "slide"])
def test_at_most_eight_pictures_go_through_the_model_at_once(
    image, protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = make_model(), []
    patch_logits = model.patch_logits

    def counting(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return patch_logits(images)

    monkeypatch.setattr(model, "patch_logits", counting)
    predictor = Predictor(model, protocol=protocol)
    labels = predictor([image] * 20)
    assert max(sizes) == 8
    monkeypatch.setattr(bands_module, "_MAX_BATCH_PIXELS", 1)
    np.testing.assert_array_equal(predictor([image]), labels[:1])
    assert sizes[-1] == 1


@pytest.mark.parametrize("fit", ["pad-crop", "pad-squeeze", "stretch"])
@pytest.mark.parametrize("patch_size", [14, 16])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 4000), (4000, 1), (15, 15), (97, 33), (0, 5), (5, 0), (0, 0)]
)
def test_a_image_of_any_size_gets_a_label_map_of_its_size(size, patch_size, fit) -> None:
    model = make_model(patch_size=patch_size, size_policy=fit)
    image = np.zeros((*size, 3), dtype=np.uint8)
    for protocol in (SLIDE, FULL):
        assert Predictor(model, protocol=protocol)(image).shape == size


def test_a_thin_image_does_not_grow_without_bound() -> None:
    assert resized_size((1, 4000), EvaluationProtocol(short_side=512)) == (1, 2048)
    assert resized_size((1, 4000), EvaluationProtocol(short_side=512, max_ratio=2.0)) == (1, 1024)


@pytest.mark.parametrize(
    ("size", "protocol", "expected"),
    [
        ((400, 600), EvaluationProtocol(short_side=128), [(128, 192)]),
        ((300, 451), EvaluationProtocol(short_side=128), [(128, 192)]),
        (
            (451, 300),
            EvaluationProtocol(short_side=128, scales=(0.5, 1.75)),
            [(96, 64), (337, 224)],
        ),
        ((301, 451), EvaluationProtocol(scales=(0.5, 1.0)), [(151, 226), (301, 451)]),
    ],
)
def test_sizes_are_rounded_half_up(size, protocol, expected) -> None:
    assert view_sizes(size, protocol) == [ViewSize(each, each) for each in expected]


def test_half_even_rounding_is_pythons() -> None:
    protocol = EvaluationProtocol(rounding="half-even", scales=(0.5,))
    assert resized_size((301, 451), protocol, 0.5) == (150, 226)


def test_scales_of_the_resized_image_start_from_its_rounded_size() -> None:
    protocol = EvaluationProtocol(
        short_side=101, scales=(0.5, 1.0), scales_of="resized", average="logits"
    )
    sizes = view_sizes((300, 451), protocol)
    assert sizes == [ViewSize((101, 152), (51, 76)), ViewSize((101, 152), (101, 152))]
    assert mean_size((300, 451), protocol) == (101, 152)


@pytest.mark.parametrize(
    ("size", "expected"), [((40, 50), (64, 80)), ((50, 40), (80, 64)), ((33, 70), (64, 135))]
)
def test_a_image_under_the_window_is_enlarged_if_the_protocol_says_so(size, expected) -> None:
    protocol = EvaluationProtocol(window=64, stride=48, small_image="enlarge")
    assert view_sizes(size, protocol) == [ViewSize(size, expected)]
    assert view_sizes((64, 90), protocol) == [ViewSize((64, 90), (64, 90))]


def test_an_enlarged_image_is_resized_after_it_is_normalised(image) -> None:
    model = make_model().eval()
    protocol = EvaluationProtocol(window=120, stride=120, small_image="enlarge", average="logits")
    normalized = model.normalize(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    (size,) = view_sizes(image.shape[:2], protocol)
    assert min(size.view) == 120
    seen = F.interpolate(normalized, size.view, mode="bilinear")
    whole = Predictor(model, protocol=protocol).probabilities(image)
    with torch.no_grad():
        logits = np.zeros((3, *size.view))
        count = np.zeros(size.view)
        for top in window_starts(size.view[0], 120, 120):
            for left in window_starts(size.view[1], 120, 120):
                rows, columns = slice(top, top + 120), slice(left, left + 120)
                logits[:, rows, columns] += model(seen[:, :, rows, columns])[0].numpy()
                count[rows, columns] += 1
    expected = naive_softmax(naive_resize(logits / count, image.shape[:2]))
    np.testing.assert_allclose(whole, expected, atol=2e-5)


def test_more_than_255_classes_give_wide_labels(image) -> None:
    assert Predictor(make_model(255))(image).dtype == np.uint8
    labels = Predictor(make_model(300))(image)
    assert labels.dtype == np.uint16
    assert labels.max() < 300


def test_a_grey_image_is_a_colour_image_of_equal_channels(image) -> None:
    predictor = Predictor(make_model(), protocol=FULL)
    grey = image[:, :, 0]
    np.testing.assert_array_equal(predictor(grey), predictor(np.stack([grey] * 3, axis=2)))


@pytest.mark.parametrize("num_channels", [1, 5])
def test_a_model_of_other_channels_takes_images_of_as_many(num_channels) -> None:
    predictor = Predictor(make_model(in_channels=num_channels), protocol=FULL)
    image = np.zeros((50, 60, num_channels), dtype=np.uint8)
    assert predictor(image).shape == (50, 60)


@pytest.mark.parametrize(
    "not_an_image",
    [
        np.zeros((4, 5, 3)),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 0), np.uint8),
    ],
    ids=lambda each: f"{each.dtype}{each.shape}",
)
def test_what_is_not_an_image_is_refused_before_the_model_runs(not_an_image, image) -> None:
    predictor = Predictor(make_model())
    with pytest.raises(UserError, match=r"uint8 .* \(height, width, 3\), got .*\("):
        predictor.probabilities(not_an_image)
    with pytest.raises(UserError, match="an image must be"):
        predictor([image, not_an_image])


def test_a_read_only_image_is_taken(image) -> None:
    image.flags.writeable = False
    assert Predictor(make_model())(image).shape == image.shape[:2]


def test_a_model_can_be_a_path(tmp_path: Path, image) -> None:
    model = make_model()
    save(model, tmp_path / "model.safetensors")
    expected = Predictor(model).probabilities(image)
    for path in (tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        probabilities = Predictor(path, runtime="torch").probabilities(image)
        np.testing.assert_array_equal(probabilities, expected)


def test_bfloat16_is_close_to_float32(image) -> None:
    model = Segmenter(make_spec(depth=1, decoder="mask"))
    exact = Predictor(model, protocol=SLIDE).probabilities(image)
    rough = Predictor(model, protocol=SLIDE, precision="bfloat16").probabilities(image)
    assert 0 < np.abs(rough - exact).mean() < 0.01  # how single pixels round is the CPU's


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float16"}, "no precision 'float16'; choose from auto, float32, bfloat16"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"scales": []}, "scales"),
        ({"scales": [0.0]}, "scales"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message) -> None:
    with pytest.raises(UserError, match=message):
        Predictor(make_model(), **options)


def test_where_memory_is_full_windows_are_halved_once_and_the_labels_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model()
    image = np.random.default_rng(0).integers(0, 256, (150, 144, 3), dtype=np.uint8)
    expected = Predictor(model, protocol=SLIDE)(image)
    predictor = Predictor(model, protocol=SLIDE)
    with small_memory(3) as tried:
        found = predictor(image)
        assert tried[:4] == [8, 4, 2, 2]
        tried.clear()
        again = predictor(image)
    assert set(tried) <= {1, 2}
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again, expected)
    (record,) = caplog.records
    said = "8 windows of 48x48 at once do not fit into the memory of cpu; going on with 4"
    assert record.getMessage() == said


def test_one_window_that_does_not_fit_into_memory_is_an_error(image: np.ndarray) -> None:
    with small_memory(0), pytest.raises(UserError, match="does not fit into memory"):
        Predictor(make_model(), protocol=SLIDE)(image)


def test_what_onnx_runtime_says_of_full_memory_is_understood() -> None:
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra export")
    fail = ort.capi.onnxruntime_pybind11_state.Fail
    with pytest.raises(UserError, match="does not fit into memory"), enough_memory():
        raise fail("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"short_side": 64}, {"short_side": 64}),
        ({"short_side": 0}, {"short_side": None}),
        ({"window": 0}, {"window": None, "stride": None}),
        ({"window": 64}, {"window": 64}),
        ({"window": 16}, {"window": 16, "stride": 16}),
        ({"stride": 8}, {"stride": 8}),
        ({"scales": [1.0, 2.0]}, {"scales": (1.0, 2.0)}),
    ],
)
def test_a_size_that_is_given_changes_that_field_of_the_models_own_protocol_alone(
    given: dict[str, object], expected: dict[str, object]
) -> None:
    model = make_model()
    model.spec = model.spec.model_copy(update={"protocol": FULL})
    assert Predictor(model, **given).protocol == FULL.model_copy(update=expected)


def test_a_window_alone_has_others_side_by_side_where_there_were_none() -> None:
    protocol = Predictor(make_model(), window=48).protocol
    assert (protocol.window, protocol.stride) == (48, 48)


def test_a_window_of_less_than_a_patch_is_refused() -> None:
    with pytest.raises(UserError, match="less than one patch; this model's patches have 16"):
        Predictor(make_model(), window=15)
