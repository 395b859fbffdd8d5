"""ADE20K, as its scene parsing benchmark publishes it: 150 classes; 0 in a mask is "other"."""

from segmenter.data.published.published_set import (
    Archive,
    PaperScoring,
    PublishedSet,
    Split,
    Submission,
)

ADE20K = PublishedSet(
    name="ade20k",
    splits={
        "train": Split("images/training", "annotations/training"),
        "val": Split("images/validation", "annotations/validation"),
        # From release_test.zip, which has a folder `testing`.
        "test": Split("images/testing", None),
    },
    counts={"train": 20_210, "val": 2_000},
    layout=(
        "images/training/NAME.jpg, images/validation/NAME.jpg, annotations/training/NAME.png and "
        "annotations/validation/NAME.png"
    ),
    folder="ADEChallengeData2016",
    archives=(
        Archive(
            "ADEChallengeData2016.zip",
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            sha1="219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
    ),
    site="http://sceneparsing.csail.mit.edu",
    has_checkpoints=True,
    rstrudel=PaperScoring("ade20k", short_side=512, max_ratio=4.0),
    paddleseg="ADE20K",
    submission=Submission(),
)
