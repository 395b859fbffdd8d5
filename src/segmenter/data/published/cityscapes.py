"""Cityscapes with fine annotations: of 34 `labelIds`, 19 are scored and the others ignored."""

import re

from segmenter.data.published.published_set import (
    Archive,
    PaperScoring,
    PublishedSet,
    Split,
    Submission,
)


def _split(name: str, *, is_labelled: bool = True) -> Split:
    return Split(
        images=f"leftImg8bit/{name}",
        masks=f"gtFine/{name}" if is_labelled else None,
        image_ending="_leftImg8bit",
        mask_ending="_gtFine_labelIds",
    )


CITYSCAPES = PublishedSet(
    name="cityscapes",
    splits={
        "train": _split("train"),
        "val": _split("val"),
        # The files in gtFine/test hold no labels.
        "test": _split("test", is_labelled=False),
    },
    counts={"train": 2_975, "val": 500},
    layout=(
        "leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png and "
        "gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png"
    ),
    folder=".",
    archives=(
        Archive("leftImg8bit_trainvaltest.zip", url=None),
        Archive("gtFine_trainvaltest.zip", url=None),
    ),
    site="https://www.cityscapes-dataset.com/downloads/",
    has_checkpoints=True,
    rstrudel=PaperScoring("cityscapes", short_side=1024, max_ratio=2.0),
    paddleseg="Cityscapes",
    # City, sequence and frame: by them the server finds the image.
    submission=Submission(
        re.compile(r"[A-Za-z-]+_\d{6}_\d{6}"), form="CITY_123456_123456, and what follows"
    ),
)
