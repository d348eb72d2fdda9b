"""Weights files in Matterport's layout: what Keras 2 wrote, one group per layer, found by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ModelError
from stormseg_ij.files import replacing
from stormseg_ij.models.mask_rcnn.config import BLOCKS, MATTERPORT, Config
from stormseg_ij.models.mask_rcnn.network import Network

Arrays = dict[str, list[NDArray[Any]]]

_NESTED = "rpn_model"  # one model in the other: its three layers share a group
_OF_NESTED = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
_NAMES = 4  # of layers that a report tells


@dataclass(frozen=True)
class LoadReport:
    """What became of a weights file.

    Attributes
    ----------
    loaded : tuple of str
        Layers that have the file's weights now.
    unfit : tuple of str
        Layers that the file has in another shape; they are as before.
    missing : tuple of str
        Layers that the file lacks; they are as before.
    skipped : tuple of str
        Layers of the file that the network does not have.
    """

    loaded: tuple[str, ...]
    unfit: tuple[str, ...]
    missing: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether network and file are of one kind."""
        return not (self.unfit or self.missing or self.skipped)

    def __str__(self) -> str:
        """Say it in a line."""
        kinds = {
            "of another shape": self.unfit,
            "missing in the file": self.missing,
            "only in the file": self.skipped,
        }
        parts = [f"{len(self.loaded)} layers loaded"]
        for what, names in kinds.items():
            if names:
                more = ", ..." if len(names) > _NAMES else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:_NAMES])}{more})")
        return "; ".join(parts)


def load_weights(network: Network, path: Path) -> LoadReport:
    """Give the network the weights of a file, layer by layer, by name.

    Parameters
    ----------
    network : Network
    path : Path
        A weights file (``.h5``) of Matterport's Mask R-CNN or of this package, or a whole model in that format, of
        which only numbers are read.

    Raises
    ------
    ModelError
        If the file is damaged or of another format, or no layer of it fits.
    """
    arrays = read_arrays(path)
    loaded, unfit, missing = [], [], []
    for name, layer in network.layers.items():
        values = arrays.get(name)
        if values is None:
            missing.append(name)
        elif [value.shape for value in values] != [tuple(weight.shape) for weight in layer.weights]:
            unfit.append(name)
        else:
            layer.set_weights([value.astype(np.float32) for value in values])
            loaded.append(name)
    skipped = [name for name in arrays if name not in network.layers]
    report = LoadReport(tuple(loaded), tuple(unfit), tuple(missing), tuple(skipped))
    if not loaded:
        raise ModelError(f"{path} fits no layer of this network ({report}); give weights of a Mask R-CNN")
    return report


def save_weights(network: Network, path: Path, *, dtype: type[np.floating[Any]] = np.float32) -> None:
    """Write a network's weights so that Matterport's code and Keras find them by name."""
    import h5py

    groups: dict[str, list[tuple[str, NDArray[Any]]]] = {}
    for name, layer in network.layers.items():
        members = groups.setdefault(_NESTED if name in _OF_NESTED else name, [])
        members += [(f"{name}/{weight.name}:0", np.asarray(weight).astype(dtype)) for weight in layer.weights]
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in groups])  # bytes, as older Keras asks for
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.12.0"
        for name, members in groups.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([place.encode() for place, _ in members])
            for place, values in members:
                group[place] = values


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a weights file by layer, in their order.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or no weights file in Keras 2's layout.
    """
    arrays: Arrays = {}
    with _opened(path) as file:
        root = file.get("model_weights", file)
        for group in _texts(root.attrs["layer_names"]):
            for place in _texts(root[group].attrs["weight_names"]):
                values = np.asarray(root[group][place])
                if values.dtype.kind not in "fiu":
                    raise TypeError(f"{group}/{place} holds no numbers")
                layer = group if group != _NESTED else place.split("/")[-2]
                arrays.setdefault(layer, []).append(values)
    if not arrays:
        raise ModelError(f"{path} holds no weights; give another file")
    return arrays


def config_of(path: Path) -> Config:
    """Read off a weights file what network it is of; everything else is as in Matterport's sample for nuclei.

    Raises
    ------
    ModelError
        If the file is damaged, or not of a Mask R-CNN that this package can build.
    """
    arrays = read_arrays(path)
    try:
        blocks = tuple(sum(f"res{stage}{chr(97 + i)}_branch2a" in arrays for i in range(26)) for stage in (2, 3, 4, 5))
        backbone = next(name for name, known in BLOCKS.items() if known == blocks)
        return Config(
            backbone=backbone,
            backbone_width=arrays["conv1"][0].shape[3],
            pyramid_width=arrays["fpn_c2p2"][0].shape[3],
            rpn_width=arrays["rpn_conv_shared"][0].shape[3],
            head_width=arrays["mrcnn_class_conv1"][0].shape[3],
            mask_width=arrays["mrcnn_mask_conv1"][0].shape[3],
            classes=arrays["mrcnn_class_logits"][0].shape[1],
            **MATTERPORT,
        )
    except (KeyError, IndexError, StopIteration, ValueError) as error:
        known = ", ".join(BLOCKS)
        raise ModelError(f"{path} is not of a Mask R-CNN with one of the backbones {known}; give another") from error


def _texts(values: Any) -> list[str]:  # noqa: ANN401 (an attribute of an HDF5 file)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; what its reader raises, also in the block, becomes one line."""
    import h5py

    if not path.is_file():
        raise ModelError(f"no file {path}; give a weights file (.h5)")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, UnicodeDecodeError) as error:
        what = "is damaged or no weights file in the layout of Keras 2 (.h5)"
        raise ModelError(f"{path} {what}; copy it again, or give another") from error
