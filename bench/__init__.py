"""Measurements: times as ratios within one run, and peak memory."""
