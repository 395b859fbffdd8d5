"""Pascal VOC 2012 with its own segmentation masks: 20 classes and the background."""

from segmenter.data.published.published_set import Archive, PublishedSet, Split

_LISTS = "ImageSets/Segmentation"

PASCAL_VOC = PublishedSet(
    name="pascal_voc",
    splits={
        "train": Split("JPEGImages", "SegmentationClass", names=f"{_LISTS}/train.txt"),
        "val": Split("JPEGImages", "SegmentationClass", names=f"{_LISTS}/val.txt"),
        # From VOC's own server, after a login.
        "test": Split("JPEGImages", None, names=f"{_LISTS}/test.txt"),
    },
    counts={"train": 1_464, "val": 1_449},
    layout=(
        "JPEGImages/NAME.jpg, SegmentationClass/NAME.png and "
        "ImageSets/Segmentation/{train,val}.txt, in VOCdevkit/VOC2012"
    ),
    folder="VOCdevkit/VOC2012",
    archives=(
        Archive(
            "VOCtrainval_11-May-2012.tar",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            sha1="4e443f8a2eca6b1dac8a6c57641b67dd40621a49",
        ),
    ),
    site="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
)
