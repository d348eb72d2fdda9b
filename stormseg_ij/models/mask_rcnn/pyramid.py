"""The feature pyramid: maps of all strides that know what the coarser ones see."""

from __future__ import annotations

from typing import Any

from stormseg_ij.models.mask_rcnn.config import Config


def pyramid(maps: list[Any], config: Config) -> list[Any]:
    """Return the maps P2 to P6 of the backbone's C2 to C5.

    Coarser maps are enlarged (nearest) and added before they are smoothed; P6 is every second point of P5.

    Returns
    -------
    list of Keras tensors
        Shapes (B, H / s, W / s, `config.pyramid_width`) for s of 4 to 64.

    References
    ----------
    Lin et al. 2017, "Feature pyramid networks for object detection".
    """
    from keras import layers

    above, sums = None, []
    for level in (5, 4, 3, 2):
        beside = layers.Conv2D(config.pyramid_width, 1, name=f"fpn_c{level}p{level}")(maps[level - 2])
        above = beside if above is None else layers.Add()([layers.UpSampling2D(2)(above), beside])
        sums.append(above)
    smooth = [
        layers.Conv2D(config.pyramid_width, 3, padding="same", name=f"fpn_p{level}")(total)
        for level, total in zip((2, 3, 4, 5), reversed(sums), strict=True)
    ]
    return [*smooth, layers.MaxPooling2D(1, strides=2)(smooth[-1])]
