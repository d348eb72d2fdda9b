"""The rule that makes the weights of the parity data, and their file in Matterport's layout."""

import hashlib
import json
import re
import zlib
from pathlib import Path

import h5py
import numpy as np

DATA = Path(__file__).parents[1] / "data" / "mask_rcnn"


def read_spec():
    return json.loads((DATA / "weights.json").read_text(encoding="utf-8"))


def make_weight(spec, layer, weight, shape):
    """Uniform numbers from the weight's own name; kernels have He's variance times a gain squared."""
    rng = np.random.default_rng(zlib.crc32(f"{spec['seed']}/{layer}/{weight}".encode()))
    u = 2.0 * rng.random(tuple(shape)) - 1.0
    if weight == "kernel":
        gain = next(gain for pattern, gain in spec["kernel_gain"] if re.fullmatch(pattern, layer))
        fan_in = shape[-1] if layer == "mrcnn_mask_deconv" else int(np.prod(shape[:-1]))
        return (u * (gain * np.sqrt(6.0 / fan_in))).astype(np.float32)
    if weight == "bias":
        return (0.05 * u + np.asarray(spec["bias_offset"].get(layer, 0.0))).astype(np.float32)
    mean, spread = {"gamma": (1.0, 0.1), "moving_variance": (1.0, 0.5)}.get(weight, (0.0, 0.1))
    return (mean + spread * u).astype(np.float32)


def write_weights(path):
    """Write the file; return the sha256 of all values, which are in the order of the list."""
    spec, digest, groups = read_spec(), hashlib.sha256(), {}
    for entry in spec["weights"]:
        groups.setdefault(entry["group"], []).append(entry)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.12.0"
        for name, members in groups.items():
            places = [f"{entry['layer']}/{entry['weight']}:0".encode() for entry in members]
            file.create_group(name).attrs["weight_names"] = places
        for entry in spec["weights"]:
            value = make_weight(spec, entry["layer"], entry["weight"], entry["shape"])
            digest.update(np.ascontiguousarray(value, "<f4").tobytes())
            file[entry["group"]][f"{entry['layer']}/{entry['weight']}:0"] = value
    return digest.hexdigest()
