"""An eighth of CamVid's masks: labels alone, a fixed teacher, and a moving teacher.

    python benchmarks/few_masks.py data/camvid --encoder dinov2-small --out results/few-masks.json
    python benchmarks/few_masks.py data/camvid --encoder dinov2-small --fitted --out fitted.json

Every eighth training image keeps its mask; the others are images without masks. All runs take the
same steps of the recipe `street-linear`, at half its image size. `fixed` learns from the labels
that the model of `labels` gives where it is confident, and `moving` from those of the average of
its own weights; half of their crops have no mask. With `--fitted`, all runs start from what
`segmenter fit` makes of the labelled images, so that a moving teacher knows something from the
first step. All are scored on the test images. Runs lie in `runs/`: what is trained is not trained
again.
"""

import argparse
import json
from pathlib import Path

from decoders import HALF, command, load_rows, save_rows, score, train

from segmenter.data.folder import open_folder

_EVERY = 8
_SHORT_SIDE = HALF[-1]
_TEACHER = (
    *("--loss.teacher.targets", "labels", "--loss.teacher.unlabelled_crops", "0.5"),
    *("--loss.teacher.strong", "true"),
)


def main() -> None:
    """Train what is not trained yet, score all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the CamVid folder; see docs/how-to/camvid.md")
    parser.add_argument("--encoder", required=True, help="DINOv2 ViT-S/14: a file, or timm:NAME")
    parser.add_argument("--steps", type=int, default=200, help="updates of each run")
    parser.add_argument("--fitted", action="store_true", help="start from a fit to the labels")
    parser.add_argument("--every", type=int, default=1, help="score every so many-th test image")
    parser.add_argument("--confidence", type=float, default=0.9, help="of a label of a teacher")
    parser.add_argument("--precision", default="float32", help="arithmetic of scores")
    parser.add_argument("--out", type=Path, required=True, help="the file of results")
    given = parser.parse_args()
    folder, rows = open_folder(given.data), load_rows(given.out)
    part, rest = divide(given.data, Path("runs/few-masks"))
    common, weights, kind = [*HALF, "--data.train", "[train]"], given.encoder, "few-masks"
    if given.fitted:
        weights, kind = str(fit(part)), "few-masks-fitted"
        common += ["--model.decoder", "auto"]
    taught = [*common, *_TEACHER, "--loss.teacher.unlabelled", str(rest)]
    taught += ["--loss.teacher.confidence", str(given.confidence)]
    first = Path("runs") / f"{kind}-labels-{given.steps}" / "last.safetensors"
    runs = {
        "labels": common,
        "fixed": [*taught, "--loss.teacher.model", str(first)],
        "moving": [*taught, "--loss.teacher.model", "average"],
    }
    test = folder.items("test")[:: given.every]
    num_labelled = len(open_folder(part).items("train"))
    for name, changes in runs.items():
        run = f"{kind}-{name}-{given.steps}"
        model = train(run, str(part), weights, given.steps, changes)
        if name not in rows:
            found = score(model, test, folder.classes, given.precision)
            facts = {
                "run": name,
                "steps": given.steps,
                "labelled": num_labelled,
                "images": len(test),
            }
            rows[name] = facts | {"confidence": given.confidence} | found._asdict()
            save_rows(given.out, rows, given.precision)
        print(json.dumps({**rows[name], "ious": None}), flush=True)


def divide(data: Path, target: Path) -> tuple[Path, Path]:
    """Link every eighth training image with its mask, and the others without."""
    part, rest = target / "labelled", target / "unlabelled"
    if not rest.exists():
        for folder in (part / "images/train", part / "masks/train", rest):
            folder.mkdir(parents=True, exist_ok=True)
        (part / "classes.yaml").write_bytes((data / "classes.yaml").read_bytes())
        for number, item in enumerate(open_folder(data).items("train")):
            assert item.mask is not None
            if number % _EVERY:
                link(item.image, rest)
            else:
                link(item.image, part / "images/train")
                link(item.mask, part / "masks/train")
    return part, rest


def fit(part: Path) -> Path:
    """Fit a decoder to the labelled images, unless that is done."""
    out = part.with_name("fitted.safetensors")
    if not out.exists():
        command("fit", str(part), "--out", str(out), "--short-side", _SHORT_SIDE)
    return out


def link(file: Path, folder: Path) -> None:
    """Link a file under its own name."""
    target = folder / file.name
    if not target.exists():
        target.symlink_to(file.resolve())


if __name__ == "__main__":
    main()
