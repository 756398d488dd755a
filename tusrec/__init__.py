"""The challenge itself: layouts, calibration, poses, displacements, metrics."""

__version__ = "0.1.0"
