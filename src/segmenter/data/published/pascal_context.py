"""Pascal Context in the paper's layout, with its background as a class (60), or without (59)."""

from dataclasses import replace

from segmenter.data.published.published_set import Archive, PaperScoring, PublishedSet, Split

MASKS, LISTS = "SegmentationClassContext", "ImageSets/SegmentationContext"

PASCAL_CONTEXT = PublishedSet(
    name="pascal_context",
    splits={
        "train": Split("JPEGImages", MASKS, names=f"{LISTS}/train.txt"),
        "val": Split("JPEGImages", MASKS, names=f"{LISTS}/val.txt"),
    },
    counts={"train": 4_998, "val": 5_105},
    layout=(
        "JPEGImages/NAME.jpg, SegmentationClassContext/NAME.png and "
        "ImageSets/SegmentationContext/{train,val}.txt, in VOCdevkit/VOC2010 "
        "(`segmenter prepare pascal_context` writes the masks and lists)"
    ),
    folder="VOCdevkit/VOC2010",
    archives=(
        Archive(
            "VOCtrainval_03-May-2010.tar",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
            sha1="bf9985e9f2b064752bf6bd654d89f017c76c395a",
        ),
        Archive(
            "trainval_merged.json",
            "https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
            sha1="169325d9f7e9047537fedca7b04de4dddf10b881",
            into=None,
            convert="segmenter.data.published.context_masks:write_masks",
        ),
    ),
    site="https://cs.stanford.edu/~roozbeh/pascal-context/",
    has_checkpoints=True,
    rstrudel=PaperScoring("pascal_context", short_side=520, max_ratio=8.0),
)

PASCAL_CONTEXT_59 = replace(PASCAL_CONTEXT, name="pascal_context_59", rstrudel=None)
