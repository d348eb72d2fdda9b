"""How long one image takes, first and warm, and how much memory: python benchmarks/segment.py [IMAGE...].

Without images: the shipped sample. Cold is a process of its own, from its start to its exit; warm is the median of five
runs in one process, after one that is not counted. Peak memory is that of the cold process, Java included.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from huge import run_measured

from stormseg_ij import bridge, models, pipeline
from stormseg_ij.image import read_image
from stormseg_ij.settings import SegmentSettings

SAMPLE = Path(__file__).parents[1] / "stormseg_ij" / "samples" / "tissue.tif"


def cold(image: Path) -> tuple[float, float]:
    """Return seconds and peak memory in MiB of one `stormseg segment` process."""
    with tempfile.TemporaryDirectory() as folder:
        return run_measured([sys.executable, "-m", "stormseg_ij.cli", "segment", str(image), "-o", folder])


def main(images: list[Path]) -> None:
    """Print one line per image."""
    print(
        f"{'image':20} {'pixels':>12} {'nuclei':>6} {'cold s':>7} {'peak MiB':>8} {'warm s':>7}  stages of a warm run"
    )
    measured = [(image, *cold(image)) for image in images]
    ij, model = bridge.start(), models.load("stardist-storm")
    for path, cold_s, peak in measured:
        image = read_image(path)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            result = pipeline.segment(image, SegmentSettings(), ij=ij, model=model)
            times.append(time.perf_counter() - start)
        shape = f"{image.shape[1]} x {image.shape[0]}"
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.run["seconds"].items())
        warm = statistics.median(times[1:])
        print(f"{path.name:20} {shape:>12} {result.count:6} {cold_s:7.1f} {peak:8.0f} {warm:7.2f}  {stages}")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]] or [SAMPLE])
