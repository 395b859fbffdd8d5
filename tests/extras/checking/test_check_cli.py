"""`segmenter check` on the command line, and the page it writes."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command_line import refused, run
from tests.helpers.drawn_items import draw_image, draw_mask, write_item
from tests.helpers.planted_faults import copy_image, scaled, unlisted_value, without
from tests.helpers.published_trees import write_tree
from tests.helpers.waiting import wait_until, wait_until_read


def test_a_clean_set_ends_with_0_and_one_with_faults_with_3(
    clean: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("check", str(clean)) == 0
    assert "no errors and no warnings" in capsys.readouterr().out
    unlisted_value(clean)
    assert run("check", str(clean)) == 3
    said = capsys.readouterr().out
    assert "masks with values that belong to no class (1): " in said
    assert "value 7 at 1280 pixels belongs to no class; add to classes.yaml" in said
    assert "1 kind of errors" in said


def test_the_json_is_the_same_each_time(clean: Path, tmp_path: Path) -> None:
    without("masks/train/b.png")(clean)
    copy_image("val/d")(clean)
    texts = []
    for name in ("a.json", "b.json"):
        assert run("check", str(clean), "--json", str(tmp_path / name)) == 3
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert found["version"] == 1
    assert set(found) == {
        "version",
        "data",
        "is_clean",
        "near_duplicate_threshold",
        "findings",
        "splits",
        "image",
        "suggestions",
    }
    assert [finding["kind"] for finding in found["findings"]] == ["leak", "photo-without-mask"][
        ::-1
    ]
    assert found["findings"][1]["count"] == 1
    assert found["splits"]["val"]["classes"]["tree"]["masks"] == 2
    assert found["splits"]["train"]["sizes"] == [{"height": 96, "width": 128, "photos": 2}]


def test_the_page_needs_nothing_from_outside_and_names_are_escaped(
    clean: Path, tmp_path: Path
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    unlisted_value(clean)
    write_item(clean, f"val/{evil}", scaled(draw_image(0)), scaled(draw_mask(0)) // 9 * 9)
    write_item(clean, "val/\udcff", draw_image(8), draw_mask(8))
    text = (clean / "classes.yaml").read_text().replace("tree", "'<script>alert(2)</script>'")
    (clean / "classes.yaml").write_text(text)
    assert run("check", str(clean), "--report", str(tmp_path / "report")) == 3
    page = (tmp_path / "report/index.html").read_text()
    plain = re.sub(r"base64,[^\"]*", "", page)
    assert evil not in plain
    assert "<script>alert" not in plain
    assert not re.search(r"https?:|src=\"(?!data:)|url\(|@import|<link", plain)
    assert plain.count("<img") >= 3
    assert run("check", str(clean), "--report", str(tmp_path / "report")) == 3


def test_nothing_of_the_user_is_replaced(clean: Path, capsys: pytest.CaptureFixture) -> None:
    mine = clean / "index.html"
    mine.write_text("mine")
    assert "--overwrite" in refused(capsys, "check", str(clean), "--report", str(clean))
    assert "exists" in refused(capsys, "check", str(clean), "--json", str(mine))
    assert mine.read_text() == "mine"


def test_a_published_set_is_checked_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_tree("ade20k", tmp_path / "ade", values=[0, 1, 150])
    mask = next((tmp_path / "ade/annotations/training").iterdir())
    mask.unlink()
    assert run("check", f"ade20k:{tmp_path}/ade") == 3
    said = capsys.readouterr().out
    assert f"images without a mask (1): {tmp_path}/ade/images/training/" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("check nowhere", "no such folder: nowhere"),
        ("check empty", "no folder 'images'"),
        ("check bare", "no image in bare/images"),
        ("check unnamed", "has no classes.yaml"),
        ("check ade2k:set", "did you mean 'ade20k'?"),
        ("check set --workers -1", "--workers is from 0"),
        ("check set --json nowhere/a.json", "its folder is missing"),
        ("check set --report set/classes.yaml", "is a file; give another folder"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: str,
    message: str,
    clean: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(clean.parent)
    for folder in ("empty", "bare/images", "bare/masks"):
        Path(folder).mkdir(parents=True)
    write_item(Path("unnamed"), "a", draw_image(0), draw_mask(0))
    assert message in refused(capsys, *arguments.split())


def num_children(threads: Path) -> int:
    """Processes that any thread of a process has started."""
    return sum(len(each.read_text().split()) for each in threads.glob("*/children"))


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_leaves_nothing(clean: Path, tmp_path: Path) -> None:
    write_item(clean, "train/many", draw_image(9, (500, 500)), draw_mask(9, (500, 500)))
    for number in range(3000):
        for kind in ("images", "masks"):
            (clean / kind / f"train/many-{number}.png").hardlink_to(clean / kind / "train/many.png")
    report = tmp_path / "report"
    command = [sys.executable, "-m", "segmenter", "check", str(clean), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--report", str(report)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    threads = Path(f"/proc/{process.pid}/task")
    # Two that read, and the one that looks after what they share.
    wait_until(lambda: num_children(threads) == 3)
    wait_until_read(clean / "images/train")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert error == b""
    assert not report.exists()


def test_training_warns_of_what_its_masks_hold_before_the_first_step(
    here: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    first, *others = sorted((here / "data/masks/train").iterdir())
    Image.fromarray(np.full((64, 64), 255, dtype=np.uint8)).save(first)
    for path in others:
        mask = np.array(Image.open(path))
        Image.fromarray(np.minimum(mask, 1)).save(path)
    assert run("train", "tiny.yaml", "--schedule.steps", "1") == 0
    said = capsys.readouterr().err
    ignored = said.index("warning: masks in which every pixel is ignored (1): ")
    missing = said.index("warning: classes that occur in no mask of the training split (1): ")
    assert max(ignored, missing) < said.index("data      ")
    assert "'class-2' is in no mask of the training images" in said


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"])
def test_a_draft_may_be_redirected_into_the_classes_of_its_own_folder(
    content: str, clean: Path, capsys: pytest.CaptureFixture
) -> None:
    path = clean / "classes.yaml"
    path.write_text(content)  # as the shell leaves it
    assert run("check", str(clean)) == 2
    said = capsys.readouterr()
    assert "classes.yaml is empty; it maps mask values" in said.err
    path.write_text(said.out)
    assert run("check", str(clean)) == 0


def test_a_list_in_a_folder_of_lists_takes_the_classes_of_the_data_set(clean: Path) -> None:
    (clean / "splits").mkdir()
    (clean / "splits/train.txt").write_text("train/a\n")
    assert run("check", str(clean / "splits/train.txt")) == 0


def test_a_draft_is_written_into_the_data_set_and_checked(
    clean: Path, capsys: pytest.CaptureFixture
) -> None:
    path = clean / "classes.yaml"
    path.unlink()
    assert run("check", str(clean), "--draft") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"wrote {path} from the values of the masks: class-" in said
    assert "no errors and no warnings" in said
    assert path.read_text().startswith("# Drafted from the values in")


def test_the_command_that_is_named_for_a_draft_does_it(
    clean: Path, capsys: pytest.CaptureFixture
) -> None:
    root = clean.rename(clean.with_name("two words"))
    (root / "classes.yaml").unlink()
    patterns = ("--images", "images/{split}/{}.png", "--masks", "masks/{split}/{}.png")
    assert run("check", str(root), *patterns) == 2
    said = " ".join(capsys.readouterr().err.split())
    command = shlex.split(said.partition("or run `segmenter ")[2].partition("`")[0])
    assert command == ["check", str(root), *patterns, "--draft"]
    assert run(*command) == 0


@pytest.mark.parametrize("content", ["classes: []", "# mine"])
def test_a_draft_replaces_no_file(content: str, clean: Path, capsys: pytest.CaptureFixture) -> None:
    (clean / "classes.yaml").write_text(content)
    assert "a draft replaces no file" in refused(capsys, "check", str(clean), "--draft")
    assert (clean / "classes.yaml").read_text() == content


def test_a_draft_fills_an_empty_file(clean: Path, capsys: pytest.CaptureFixture) -> None:
    path = clean / "classes.yaml"
    path.write_text("\n")
    assert f"{path} is empty; it maps mask values" in refused(capsys, "check", str(clean))
    assert run("check", str(clean), "--draft") == 0
    assert path.read_text().startswith("# Drafted from the values in")


def test_a_published_data_set_takes_no_draft(capsys: pytest.CaptureFixture) -> None:
    assert "has classes already" in refused(capsys, "check", "ade20k:nowhere", "--draft")


def test_the_page_says_what_to_fix_first_and_offers_the_list(clean: Path, tmp_path: Path) -> None:
    unlisted_value(clean)
    without("masks/val/e.png")(clean)
    assert run("check", str(clean), "--report", str(tmp_path / "report")) == 3
    page = (tmp_path / "report/index.html").read_text()
    assert "3 of 5 images are usable for training; fix these 2 files first." in page
    (listed,) = re.findall(r'download="files-to-fix.txt" href="data:text/plain[^,]*,([^"]*)"', page)
    assert sorted(unquote(listed).split()) == sorted(
        [str(clean / "images/val/e.png"), *(str(path) for path in (clean / "masks").rglob("a.png"))]
    )
    findings = page.partition("<h2>Images and their masks</h2>")[0]
    assert findings.count('class="slider"') == 1  # the mask with the value, over its image


def test_the_page_of_a_clean_set_shows_images_under_their_masks(
    clean: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    assert run("check", str(clean), "--report", str(report)) == 0
    page = (report / "index.html").read_text()
    assert page.count('class="slider"') == 4
    assert "Largest crops of recipes that show whole images, in place of windows" in page
