"""The tensors of two models that everybody knows, by shape alone: what they hold does not matter here.

Source: LeCun et al., Proceedings of the IEEE 86, 1998 (LeNet-5, on 28 x 28 pixels: 44,426 parameters); He et al.,
CVPR 2016 (ResNet-18 for ImageNet: 62 tensors, 11,689,512 parameters; running statistics are none).
"""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

CLASSES = 1000
BLOCKS = 2
STAGES = 4


def lenet5() -> Shapes:
    """Two convolutions and three dense layers, each with its bias."""
    weights = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 256), "fc2": (84, 120), "fc3": (10, 84)}
    return {
        f"{layer}.{part}": held
        for layer, shape in weights.items()
        for part, held in (("weight", shape), ("bias", shape[:1]))
    }


def resnet18(width: int) -> Shapes:
    """Of so many channels in its first stage: 64 in the paper."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 7, 7), **normalised("bn1", width)}
    before = width
    for stage in range(STAGES):
        channels = width << stage
        for block in range(BLOCKS):
            name = f"layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, before, 3, 3)
            shapes |= normalised(f"{name}.bn1", channels)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= normalised(f"{name}.bn2", channels)
            if before != channels:
                shapes[f"{name}.downsample.0.weight"] = (channels, before, 1, 1)
                shapes |= normalised(f"{name}.downsample.1", channels)
            before = channels
    return shapes | {"fc.weight": (CLASSES, before), "fc.bias": (CLASSES,)}


def normalised(name: str, channels: int) -> Shapes:
    """A batch normalisation's scale and shift."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
