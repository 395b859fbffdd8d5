"""`segmenter.check`."""

from pathlib import Path
from typing import Unpack

from segmenter.api.inputs import check_outputs
from segmenter.api.keywords import CHECK, CheckKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.calls import check_types
from segmenter.extras.checking.check_data_set import check_data_set
from segmenter.extras.checking.data_check import Check


@shows_options(*CHECK)
def check(
    data: str | Path,
    *,
    model: str | Path | None = None,
    doubts: bool = False,
    draft: bool = False,
    workers: int | None = None,
    **options: Unpack[CheckKeywords],
) -> Check:
    """Read a data set once and find what is wrong with it, as `segmenter check` does.

    Args:
        data: Folder of the data set, a list file, or NAME:PATH of a published one.
        model: Model whose predictions the labels are compared with, to list those that are
            probably wrong. Its classes must be those of the data. If None, they are not compared.
        doubts: Also compare the labels without a model: those of each image with the predictions of
            a `fit` to other images.
        draft: Write the missing `classes.yaml`, from the values of the masks; no file is replaced.
        workers: Processes that read; 0: this one. If None, as many as there are CPUs. A script
            that asks for some needs `if __name__ == "__main__":`.
        options: See below.

    Returns:
        The findings: `is_clean`, `verdict`, `findings`, `splits`, `suggestions`. With `model` or
        `doubts`, its field `doubts` holds the labels that are probably wrong; None if labels could
        not be compared, which a warning reports.

    Raises:
        UserError: If no data set is found, or an output cannot be written.

    Example:
        found = segmenter.check("fields")
        if not found.is_clean:
            print(found)
    """
    (data,) = as_texts("check", data=data)
    name = None if model is None else as_texts("check", model=model)[0]
    types = {"workers": int | None, "draft": bool, "doubts": bool}
    check_types("check", types, {"workers": workers, "draft": draft, "doubts": doubts})
    pairs, device, report = make_options("check", options, *CHECK)
    check_outputs({"data": data, "model": name, "report": report})
    found, _ = check_data_set(
        *(data, workers, report),
        draft=draft,
        pairs=pairs,
        model=name,
        doubts=doubts,
        device=device,
    )
    return found
