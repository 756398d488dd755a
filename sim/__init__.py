"""A simulator of freehand B-mode scans whose speckle moves like real speckle.

Point scatterers in an anatomy (`tissue`), a probe (`probe`) on a trajectory (`motion`), pictures
(`imaging`) with what goes wrong in practice (`imperfections`): `scan` puts them together from a
seed, `dataset` writes the challenge's layouts, `card` what they hold, `stream` cuts excerpts.
"""

EVALUATION_SEED = 900_000
"""Seeds from here on are for evaluation; no model may be trained on them."""
SIMULATOR = 2
"""Counts up when the bytes of a seed change, so that sets of two simulators are not mixed."""
