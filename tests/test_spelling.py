"""A message names options as flags on the command line, and as keywords in Python."""

import pytest

import segmenter
from segmenter.errors import UserError
from segmenter.spelling import messages_name, spelled


@pytest.mark.parametrize(
    ("flags", "keywords"),
    [
        ("allow it with --overwrite", "allow it with overwrite=True"),
        ("--stride 10 is large; give --window too", "stride=10 is large; give window too"),
        ("give --classes FILE, or --device cpu", 'give classes=FILE, or device="cpu"'),
        ("give a smaller --devices, or omit it", "give a smaller devices, or omit it"),
        (
            "neither --output labels nor --no-normalize",
            'neither output="labels" nor normalize=False',
        ),
        ("from its weights with --from", "from its weights with start"),
        ("--protocol.short_side 756 shows more", 'protocol={"short_side": 756} shows more'),
        ("as in --data.train '[a,b]'", 'as in data={"train": [a,b]}'),
        ("such as --images 'img/{}.jpg'", "such as images='img/{}.jpg'"),
        ("`--partial` takes what fits", "`partial=True` takes what fits"),
        ("the same as `--window 0`", "the same as `window=0`"),
        ("such as `--scales 0.75 1 1.25`", "such as `scales=[0.75, 1, 1.25]`"),
        ("(`segmenter train --from` goes on)", "(`segmenter train --from` goes on)"),
        ("run segmenter check a --draft; or not", "run segmenter check a --draft; or not"),
        ("--format onnx is a file named NAME.onnx", 'format="onnx" is a file named NAME.onnx'),
        ("`a` and --fsdp, `b c`", "`a` and fsdp=True, `b c`"),
        ("no such file: a--b/--c.png", "no such file: a--b/--c.png"),
    ],
)
def test_flags_become_keywords(flags: str, keywords: str) -> None:
    assert spelled(flags) == flags
    with messages_name("keywords"):
        assert spelled(flags) == keywords
        assert str(UserError(flags)) == keywords


def test_an_error_in_python_speaks_of_keywords(tiny_model: segmenter.Segmenter) -> None:
    with pytest.raises(UserError) as wrong:
        segmenter.Predictor(tiny_model, window=0, short_side=-1)
    assert str(wrong.value).startswith("--short-side: ")
    with messages_name("keywords"):
        assert str(wrong.value).startswith("short_side: ")
