"""Names, colours and mask values of the published data sets, typed out apart from the package."""

ADE20K_NAMES = """
wall|building|sky|floor|tree|ceiling|road|bed|windowpane|grass|cabinet|sidewalk|person|earth|door|
table|mountain|plant|curtain|chair|car|water|painting|sofa|shelf|house|sea|mirror|rug|field|
armchair|seat|fence|desk|rock|wardrobe|lamp|bathtub|railing|cushion|base|box|column|signboard|
chest of drawers|counter|sand|sink|skyscraper|fireplace|refrigerator|grandstand|path|stairs|runway|
case|pool table|pillow|screen door|stairway|river|bridge|bookcase|blind|coffee table|toilet|flower|
book|hill|bench|countertop|stove|palm|kitchen island|computer|swivel chair|boat|bar|arcade machine|
hovel|bus|towel|light|truck|tower|chandelier|awning|streetlight|booth|television receiver|airplane|
dirt track|apparel|pole|land|bannister|escalator|ottoman|bottle|buffet|poster|stage|van|ship|
fountain|conveyer belt|canopy|washer|plaything|swimming pool|stool|barrel|basket|waterfall|tent|bag|
minibike|cradle|oven|ball|food|step|tank|trade name|microwave|pot|animal|bicycle|lake|dishwasher|
screen|blanket|sculpture|hood|sconce|vase|traffic light|tray|ashcan|fan|pier|crt screen|plate|
monitor|bulletin board|shower|radiator|glass|clock|flag
"""

ADE20K_COLORS = """
120 120 120, 180 120 120, 6 230 230, 80 50 50, 4 200 3, 120 120 80, 140 140 140, 204 5 255,
230 230 230, 4 250 7, 224 5 255, 235 255 7, 150 5 61, 120 120 70, 8 255 51, 255 6 82, 143 255 140,
204 255 4, 255 51 7, 204 70 3, 0 102 200, 61 230 250, 255 6 51, 11 102 255, 255 7 71, 255 9 224,
9 7 230, 220 220 220, 255 9 92, 112 9 255, 8 255 214, 7 255 224, 255 184 6, 10 255 71, 255 41 10,
7 255 255, 224 255 8, 102 8 255, 255 61 6, 255 194 7, 255 122 8, 0 255 20, 255 8 41, 255 5 153,
6 51 255, 235 12 255, 160 150 20, 0 163 255, 140 140 140, 250 10 15, 20 255 0, 31 255 0, 255 31 0,
255 224 0, 153 255 0, 0 0 255, 255 71 0, 0 235 255, 0 173 255, 31 0 255, 11 200 200, 255 82 0,
0 255 245, 0 61 255, 0 255 112, 0 255 133, 255 0 0, 255 163 0, 255 102 0, 194 255 0, 0 143 255,
51 255 0, 0 82 255, 0 255 41, 0 255 173, 10 0 255, 173 255 0, 0 255 153, 255 92 0, 255 0 255,
255 0 245, 255 0 102, 255 173 0, 255 0 20, 255 184 184, 0 31 255, 0 255 61, 0 71 255, 255 0 204,
0 255 194, 0 255 82, 0 10 255, 0 112 255, 51 0 255, 0 194 255, 0 122 255, 0 255 163, 255 153 0,
0 255 10, 255 112 0, 143 255 0, 82 0 255, 163 255 0, 255 235 0, 8 184 170, 133 0 255, 0 255 92,
184 0 255, 255 0 31, 0 184 255, 0 214 255, 255 0 112, 92 255 0, 0 224 255, 112 224 255, 70 184 160,
163 0 255, 153 0 255, 71 255 0, 255 0 163, 255 204 0, 255 0 143, 0 255 235, 133 255 0, 255 0 235,
245 0 255, 255 0 122, 255 245 0, 10 190 212, 214 255 0, 0 204 255, 20 0 255, 255 255 0, 0 153 255,
0 41 255, 0 255 204, 41 0 255, 41 255 0, 173 0 255, 0 245 255, 71 0 255, 122 0 255, 0 255 184,
0 92 255, 184 255 0, 0 133 255, 255 214 0, 25 194 194, 102 255 0, 92 0 255
"""

# labelId of Cityscapes -> class; the other labelIds are ignored.
CITYSCAPES = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}

# Category in trainval_merged.json -> name, in the order of the data set's 59_labels.txt.
CONTEXT_CATEGORIES = {
    2: "aeroplane", 23: "bicycle", 25: "bird", 31: "boat", 34: "bottle", 45: "bus", 59: "car",
    65: "cat", 72: "chair", 98: "cow", 397: "table", 113: "dog", 207: "horse", 258: "motorbike",
    284: "person", 308: "pottedplant", 347: "sheep", 368: "sofa", 416: "train", 427: "tvmonitor",
    9: "bag", 18: "bed", 22: "bench", 33: "book", 44: "building", 46: "cabinet", 68: "ceiling",
    80: "cloth", 85: "computer", 104: "cup", 115: "door", 144: "fence", 158: "floor",
    159: "flower", 162: "food", 187: "grass", 189: "ground", 220: "keyboard", 232: "light",
    259: "mountain", 260: "mouse", 105: "curtain", 296: "platform", 355: "sign", 295: "plate",
    324: "road", 326: "rock", 349: "shelves", 354: "sidewalk", 360: "sky", 366: "snow",
    19: "bedclothes", 415: "track", 420: "tree", 424: "truck", 440: "wall", 445: "water",
    454: "window", 458: "wood",
}  # fmt: skip

PASCAL_VOC = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}

# `labels.txt` of COCO-Stuff, ids 1 to 182; a mask holds the id less 1. - does not occur.
COCO_STUFF_LABELS = """
person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|-|stop sign|
parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|-|backpack|umbrella|-|
-|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|
skateboard|surfboard|tennis racket|bottle|-|wine glass|cup|fork|knife|spoon|bowl|banana|apple|
sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|-|
dining table|-|-|toilet|-|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|
refrigerator|-|book|clock|vase|scissors|teddy bear|hair drier|toothbrush|-|banner|blanket|branch|
bridge|building-other|bush|cabinet|cage|cardboard|carpet|ceiling-other|ceiling-tile|cloth|clothes|
clouds|counter|cupboard|curtain|desk-stuff|dirt|door-stuff|fence|floor-marble|floor-other|
floor-stone|floor-tile|floor-wood|flower|fog|food-other|fruit|furniture-other|grass|gravel|
ground-other|hill|house|leaves|light|mat|metal|mirror-stuff|moss|mountain|mud|napkin|net|paper|
pavement|pillow|plant-other|plastic|platform|playingfield|railing|railroad|river|road|rock|roof|rug|
salad|sand|sea|shelf|sky-other|skyscraper|snow|solid-other|stairs|stone|straw|structural-other|
table|tent|textile-other|towel|tree|vegetable|wall-brick|wall-concrete|wall-other|wall-panel|
wall-stone|wall-tile|wall-wood|water-other|waterdrops|window-blind|window-other|wood
"""


def names_in(text: str) -> list[str]:
    """The names between the bars."""
    return text.replace("\n", "").split("|")


def colors_in(text: str) -> list[tuple[int, ...]]:
    """The RGB colours between the commas."""
    return [tuple(map(int, color.split())) for color in text.split(",")]
