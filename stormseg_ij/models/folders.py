"""What lies in a model folder beside its description."""

from __future__ import annotations

import json
from pathlib import Path

from stormseg_ij.errors import ModelError, first_line


def weights_file(folder: Path) -> Path:
    """Return the file of a model's weights: the best, else the last, else any.

    Raises
    ------
    ModelError
        If there is none.
    """
    for name in ("weights_best.h5", "weights_last.h5"):
        if (folder / name).is_file():
            return folder / name
    others = sorted(folder.glob("*.h5"))
    if not others:
        raise ModelError(f"{folder} holds no weights (*.h5); copy the whole model folder")
    return others[0]


def thresholds(folder: Path, default: tuple[float, float]) -> tuple[float, float]:
    """Return probability and NMS of ``thresholds.json``, or `default` where there is none.

    Raises
    ------
    ModelError
        If the file is damaged, or has values out of range.
    """
    path = folder / "thresholds.json"
    if not path.is_file():
        return default
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        probability, nms = float(values["prob"]), float(values["nms"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{path} is damaged: {first_line(error)}; it needs numbers prob and nms") from error
    if not (0.0 <= probability <= 1.0 and 0.0 <= nms <= 1.0):
        raise ModelError(f"{path} has prob {probability:g} and nms {nms:g}; both must be from 0 to 1")
    return probability, nms
