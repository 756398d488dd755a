"""Frames in, relative poses with uncertainty out: networks, the classical estimator, weights."""
