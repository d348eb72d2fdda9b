"""`stormseg segment` and `stormseg preprocess`."""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stormseg_ij import settings as options
from stormseg_ij.cli.terminal import check_file, check_outputs, line, plane_of, progress, say, settings_of, start
from stormseg_ij.errors import SettingsError, StormsegError

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ
    from stormseg_ij.image import Image
    from stormseg_ij.models import Model


def segment(arguments: argparse.Namespace) -> int:
    """Segment images into a folder."""
    from stormseg_ij import models
    from stormseg_ij.image import read_image
    from stormseg_ij.pipeline import output_paths

    settings: options.SegmentSettings = settings_of(arguments)
    images: list[Path] = arguments.images
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise SettingsError(f"{path} and {stems[path.stem]} would write the same files; segment them one by one")
        stems[path.stem] = path
    outputs = [path for stem in stems for path in output_paths(arguments.output, stem).values()]
    check_outputs(outputs, images, overwrite=arguments.overwrite)
    models.find(settings.model)
    first = None
    if len(images) == 1 or not any(path.is_file() for path in images):
        first = read_image(images[0], plane=settings.plane)  # what is wrong with it is told before the engines start
    ij = start(arguments)
    model = models.load(settings.model)
    several = progress(images, "image") if len(images) > 1 else images
    done = [_segment_one(path, first, arguments, (ij, model)) for path in several]
    return 0 if all(done) else 1


def _segment_one(path: Path, image: Image | None, arguments: argparse.Namespace, engines: tuple[ImageJ, Model]) -> bool:
    """Segment one file, which may have been read before; a failure is told and does not stop the others."""
    from stormseg_ij import pipeline
    from stormseg_ij.cli.bars import Bar
    from stormseg_ij.image import read_image

    start, settings = time.perf_counter(), settings_of(arguments)
    try:
        image = read_image(path, plane=settings.plane) if image is None else image
        with closing(Bar(path.name)) as bar:
            result = pipeline.segment(image, settings, ij=engines[0], model=engines[1], progress=bar)
            bar.stage("save", 0.0)
            paths = result.save(arguments.output, overwrite=arguments.overwrite)
    except StormsegError as error:
        line(f"stormseg: {error}", error=True)
        return False
    say(result.notes, path.name)
    size = result.run["settings"]["used"]["size"]
    nuclei = "1 nucleus" if result.count == 1 else f"{result.count} nuclei"
    line(f"{path.name}: {nuclei} in {time.perf_counter() - start:.1f} s (scaled to {size} pixels)")
    for key in ("rois", "measurements", "overlay"):
        line(f"  {key + ':':14}{paths[key]}")
    return True


def preprocess(arguments: argparse.Namespace) -> int:
    """Do to one image what ImageJ does before the network."""
    from stormseg_ij import preprocess as steps
    from stormseg_ij.image import read_image, write_tiff

    settings, plane = settings_of(arguments), plane_of(arguments)
    check_file(arguments, [arguments.image], ".tif", ".tiff")
    image = read_image(arguments.image, plane=plane)
    result = steps.preprocess(image, settings, start(arguments))
    write_tiff(arguments.output, result.pixels, calibration=result.calibration)
    say(result.notes, arguments.image.name)
    height, width = result.shape
    print(f"{arguments.output}: {width} x {height}, {result.pixels.dtype}")
    return 0
