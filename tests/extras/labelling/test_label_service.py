"""The service behind the page: what it takes, and what it refuses."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segmenter.data.decoding.decode import decode_image
from segmenter.extras.labelling.assistant import ModelAssistant
from segmenter.extras.labelling.layers import NOTHING
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.labelling import Halves, labelling, read_mask, with_classes, write_images
from tests.helpers.models import make_spec
from tests.helpers.services import code_of
from tests.helpers.waiting import wait_until

SHAPE = (40, 56)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SimpleNamespace]:
    root = write_images(tmp_path / "set", "a", "b")
    with labelling(root, Halves()) as served:
        with_classes(served.folder, "sky", "road")
        served.root = root
        yield served


def body(version: int = 0, **fields: Any) -> dict[str, Any]:
    return {"image": "a", "version": version, "id": f"change-{version}-of-a"} | fields


def paint(served: SimpleNamespace, version: int = 0, **fields: Any) -> Any:
    stroke = {"tool": "brush", "value": 1, "runs": [0, 0, 9]}
    return served.client.post("/api/stroke", json=body(version, **stroke | fields))


def labels_of(served: SimpleNamespace, **query: str) -> np.ndarray:
    answer = served.client.get("/api/labels", params={"image": "a"} | query)
    shape = int(answer.headers["x-height"]), int(answer.headers["x-width"])
    return np.frombuffer(answer.content, np.uint8).reshape(shape)


def test_the_page_and_its_modules_are_given_out_under_a_strict_policy(
    served: SimpleNamespace,
) -> None:
    page = served.client.get("/")
    assert "main.js" in page.text
    assert served.client.get("/main.js").headers["content-type"].startswith("text/javascript")
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_a_stroke_is_on_the_disk_when_it_is_acknowledged(served: SimpleNamespace) -> None:
    answer = paint(served).json()
    assert answer == {
        "version": 1,
        "box": [0, 0, 1, 9],
        "can_undo": True,
        "can_redo": False,
        "state": "work",
        "mask_problem": None,
    }
    assert b'"runs":[0,0,9]' in (served.root / "strokes" / "a.strokes").read_bytes()
    assert labels_of(served, box="0,0,1,10").tolist() == [[1] * 9 + [NOTHING]]


def test_undo_redo_and_done_are_changes_too(served: SimpleNamespace) -> None:
    paint(served)
    assert served.client.post("/api/undo", json=body(1)).json()["can_redo"]
    assert (labels_of(served) == NOTHING).all()
    served.client.post("/api/redo", json=body(2))
    assert served.client.post("/api/mark", json=body(3, done=True)).json()["state"] == "done"
    images = served.client.get("/api/folder").json()["images"]
    assert images == [{"name": "a", "state": "done"}, {"name": "b", "state": "new"}]
    assert served.client.get("/api/open", params={"image": "a"}).json()["version"] == 4


def test_news_tell_what_another_window_changed(served: SimpleNamespace) -> None:
    paint(served)
    with_classes(served.folder, "tree")
    news = served.client.get("/api/news", params={"image": "a"})
    assert news.json() == {"version": 1, "classes": 3}
    assert served.client.get("/api/news", params={"image": "b"}).json()["version"] == 0


def test_the_mask_is_written_when_nobody_paints(served: SimpleNamespace) -> None:
    paint(served)
    wait_until(lambda: (served.root / "masks" / "a.png").exists())
    assert (read_mask(served.root, "a")[0, :9] == 1).all()


def test_a_mask_that_cannot_be_written_is_told_with_the_next_stroke_and_written_once_it_can(
    served: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = served.root / "masks"
    in_the_way.write_text("a file")
    assert paint(served).json()["mask_problem"] is None
    wait_until(lambda: str(in_the_way) in caplog.text)
    assert str(in_the_way) in paint(served, 1).json()["mask_problem"]
    assert paint(served, image="b").json()["mask_problem"] is None
    in_the_way.unlink()
    paint(served, 2)
    wait_until(lambda: (served.root / "masks" / "a.png").exists())


def test_what_is_accepted_is_what_was_shown_for_a_class_and_inside_a_lasso(
    served: SimpleNamespace,
) -> None:
    early = served.client.get("/api/proposal", params={"image": "a"})
    assert code_of(early) == (422, "refused")
    assert "two classes are needed" in early.json()["detail"]
    paint(served)
    number = int(served.client.get("/api/proposal", params={"image": "a"}).headers["x-proposal"])
    wish = {"proposal": number, "classes": [0], "runs": [3, 0, 56]}
    assert served.client.post("/api/accept", json=body(1, **wish)).json()["box"] == [3, 0, 4, 28]
    expected = np.full(SHAPE, NOTHING)
    expected[3, :28], expected[0, :9] = 0, 1
    np.testing.assert_array_equal(labels_of(served), expected)
    old = served.client.post("/api/accept", json=body(2, proposal=number - 1))
    assert code_of(old) == (409, "stale")


def test_an_acceptance_that_is_sent_again_after_a_restart_is_made_once(tmp_path: Path) -> None:
    root = write_images(tmp_path / "set", "a")
    with labelling(root, Halves()) as served:
        with_classes(served.folder, "sky", "road")
        paint(served)
        number = served.client.get("/api/proposal", params={"image": "a"}).headers["x-proposal"]
        acceptance = body(1, proposal=int(number))
        first = served.client.post("/api/accept", json=acceptance).json()
    with labelling(root, Halves()) as served:
        assert served.client.post("/api/accept", json=acceptance).json() == first


def test_grow_answers_with_runs(served: SimpleNamespace) -> None:
    point = {"image": "a", "row": 5, "column": 6, "tolerance": 1}
    assert served.client.post("/api/grow", json=point).json() == {"runs": [5, 6, 7]}
    outside = served.client.post("/api/grow", json=point | {"row": 40})
    assert code_of(outside) == (422, "refused")


def test_a_lack_of_memory_is_a_503_that_says_what_to_do(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Halves, "grow", grow)
    point = {"image": "a", "row": 5, "column": 6, "tolerance": 1}
    answer = served.client.post("/api/grow", json=point)
    assert code_of(answer) == (503, "out-of-memory")
    assert "fewer pixels" in answer.json()["detail"]
    assert paint(served).is_success


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"runs": [0, 0, 57]}, (422, "refused")),
        ({"runs": [0, 0]}, (422, "refused")),
        ({"runs": [0, 0.5, 1]}, (422, "bad-request")),
        ({"runs": [0, 0, 10**30]}, (422, "refused")),
        ({"value": 2}, (422, "refused")),
        ({"value": 255}, (422, "refused")),
        ({"value": "1"}, (422, "bad-request")),
        ({"tool": "laser"}, (422, "bad-request")),
        ({"image": "../images/a"}, (422, "refused")),
        ({"image": "/etc/passwd"}, (422, "refused")),
        ({"version": 7}, (409, "stale")),
        ({"version": -1}, (422, "bad-request")),
        ({"id": ""}, (422, "bad-request")),
        ({"more": 1}, (422, "bad-request")),
    ],
    ids=str,
)
def test_a_bad_stroke_is_refused_in_one_line_and_changes_nothing(
    served: SimpleNamespace, change: dict[str, Any], code: tuple[int, str]
) -> None:
    assert code_of(paint(served, **change)) == code
    assert not (served.root / "strokes" / "a.strokes").exists()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, (421, "wrong-host")),
        ({"origin": "http://evil.example"}, (403, "cross-site")),
        ({"sec-fetch-site": "cross-site"}, (403, "cross-site")),
        ({"content-type": "text/plain"}, (415, "unsupported-media-type")),
        ({"content-encoding": "gzip"}, (415, "unsupported-encoding")),
    ],
    ids=str,
)
def test_another_site_and_another_kind_of_body_are_refused(
    served: SimpleNamespace, headers: dict[str, str], code: tuple[int, str]
) -> None:
    headers = {"content-type": "application/json"} | headers
    answer = served.client.post("/api/stroke", content=gzip.compress(b"{}"), headers=headers)
    assert code_of(answer) == code


def test_no_path_leads_to_files_of_the_folder(served: SimpleNamespace) -> None:
    for path in ("/classes.yaml", "/strokes/.lock", "/..%2fclasses.yaml", "/api/nothing"):
        assert code_of(served.client.get(path)) == (404, "not-found")
    for query in ({"image": "../classes"}, {"image": "c"}):
        for name in ("open", "news", "pixels", "labels", "proposal"):
            assert code_of(served.client.get(f"/api/{name}", params=query)) == (422, "refused")


def test_a_mask_made_elsewhere_is_told_of_and_taken_over_on_request(
    served: SimpleNamespace,
) -> None:
    paint(served)
    wait_until(lambda: (served.root / "masks" / "a.png").exists())
    (served.root / "strokes" / "a.strokes").rename(served.root / "elsewhere")
    (served.root / "images" / "a.png").touch()
    opened = served.client.get("/api/open", params={"image": "a"}).json()
    assert "not replaced unasked" in opened["foreign_mask"]
    assert code_of(paint(served)) == (409, "foreign-mask")
    served.client.post("/api/take-mask", json=body(0, keep_labels=True))
    assert (labels_of(served)[0, :9] == 1).all()


def test_a_model_proposes_what_it_predicts_for_the_classes_that_there_are(tmp_path: Path) -> None:
    predictor = Predictor(Segmenter(make_spec(3)))
    root = write_images(tmp_path / "set", "a")
    with labelling(root, ModelAssistant(predictor, "tiny")) as served:
        with_classes(served.folder, "class-2", "other", "class-0")
        answer = served.client.get("/api/proposal", params={"image": "a"})
    predicted = predictor(decode_image(root / "images" / "a.png"))
    expected = np.array([2, NOTHING, 0], np.uint8)[predicted]
    np.testing.assert_array_equal(np.frombuffer(answer.content, np.uint8), expected.ravel())


def test_images_of_a_given_order_come_first(tmp_path: Path) -> None:
    root = write_images(tmp_path / "set", "a", "b", "c")
    with labelling(root, order=["c", "gone"]) as served:
        images = served.client.get("/api/folder").json()["images"]
    assert [each["name"] for each in images] == ["c", "a", "b"]
