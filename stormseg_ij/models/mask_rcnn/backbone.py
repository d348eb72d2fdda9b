"""ResNet, the first version: the stride lies on the first convolution of a stage's first block."""

from __future__ import annotations

from typing import Any

from stormseg_ij.models.mask_rcnn.config import BLOCKS, Config

_EPSILON = 1e-3  # Keras' own, as in Matterport's


def batch_norm(name: str) -> Any:  # noqa: ANN401 (a Keras layer)
    """Make the normalisation that all of the network uses."""
    import keras

    return keras.layers.BatchNormalization(epsilon=_EPSILON, momentum=0.99, name=name)


def backbone(image: Any, config: Config) -> list[Any]:  # noqa: ANN401 (Keras tensors)
    """Return the maps C2 to C5 of an image.

    Parameters
    ----------
    image : Keras tensor of float32, shape (B, H, W, 3)
        H and W are multiples of 64.
    config : Config

    Returns
    -------
    list of Keras tensors
        Shapes (B, H / s, W / s, k w) for s of 4, 8, 16, 32 and k of 4, 8, 16, 32; w is `config.backbone_width`.

    References
    ----------
    He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", Table 1.
    """
    from keras import layers

    x = layers.ZeroPadding2D(3)(image)
    x = layers.Conv2D(config.backbone_width, 7, strides=2, name="conv1")(x)
    x = layers.ReLU()(batch_norm("bn_conv1")(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    maps = []
    for stage, blocks in enumerate(BLOCKS[config.backbone], start=2):
        width = config.backbone_width << (stage - 2)
        for number in range(blocks):
            stride = 2 if stage > 2 and number == 0 else 1
            x = _block(x, f"{stage}{_letter(number)}", width, stride, shortcut=number == 0)
        maps.append(x)
    return maps


def _letter(number: int) -> str:
    """Return a block's name in its stage: a to w."""
    return chr(ord("a") + number)


def _block(x: Any, name: str, width: int, stride: int, *, shortcut: bool) -> Any:  # noqa: ANN401 (Keras tensors)
    """Narrow, look around, widen; then add what went in, by a convolution where the shape changes."""
    from keras import layers

    y = x
    for branch, channels, side in (("2a", width, 1), ("2b", width, 3), ("2c", 4 * width, 1)):
        step = stride if branch == "2a" else 1
        y = layers.Conv2D(channels, side, strides=step, padding="same", name=f"res{name}_branch{branch}")(y)
        y = batch_norm(f"bn{name}_branch{branch}")(y)
        if branch != "2c":
            y = layers.ReLU()(y)
    if shortcut:
        x = layers.Conv2D(4 * width, 1, strides=stride, name=f"res{name}_branch1")(x)
        x = batch_norm(f"bn{name}_branch1")(x)
    return layers.ReLU(name=f"res{name}_out")(layers.Add()([y, x]))
