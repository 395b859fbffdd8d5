"""COCO-Stuff 164k: 171 classes, whose mask values are 182 less the 11 that do not occur."""

from segmenter.data.published.published_set import Archive, PublishedSet, Split

COCO_STUFF = PublishedSet(
    name="coco_stuff",
    splits={
        "train": Split("images/train2017", "annotations/train2017"),
        "val": Split("images/val2017", "annotations/val2017"),
        "test": Split("images/test2017", None),
    },
    counts={"train": 118_287, "val": 5_000},
    layout=(
        "images/{train2017,val2017}/NAME.jpg and annotations/{train2017,val2017}/NAME.png "
        "(the PNGs of stuffthingmaps)"
    ),
    folder=".",
    archives=(
        Archive(
            "train2017.zip",
            "http://images.cocodataset.org/zips/train2017.zip",
            sha1="10ad623668ab00c62c096f0ed636d6aff41faca5",
            into="images",
        ),
        Archive(
            "val2017.zip",
            "http://images.cocodataset.org/zips/val2017.zip",
            sha1="4950dc9d00dbe1c933ee0170f5797584351d2a41",
            into="images",
        ),
        Archive(
            "stuffthingmaps_trainval2017.zip",
            "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
            "stuffthingmaps_trainval2017.zip",
            into="annotations",
        ),
    ),
    site="https://github.com/nightrome/cocostuff",
)
