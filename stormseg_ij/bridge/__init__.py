"""ImageJ and Fiji from Python; the only package that imports Java.

One process holds one Java, and one Java one ImageJ: `start` makes it, and gives the same one again after that.
"""

from stormseg_ij.bridge.imagej import ImageJ, ImagePlus
from stormseg_ij.bridge.starting import start
from stormseg_ij.errors import BridgeError

__all__ = ["BridgeError", "ImageJ", "ImagePlus", "start"]
