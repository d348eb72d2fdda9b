"""Segment cell nuclei in STORM images, with every nucleus an ImageJ ROI.

Importing this package loads neither Java nor TensorFlow; the engines behind it load when they are first used.
"""

__version__ = "0.1.0"
