"""Turn the organisers' published baseline weights into `weights/baseline.safetensors`.

Usage: python -m model.convert_baseline FILE

FILE is the pickled state dict of their repository. It is read with torch's weights-only loader,
which runs no code from the file, and must hold exactly the baseline's weights.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model.baseline import ARCHITECTURE, Baseline, build_network
from model.weights import check_weights, write_weights
from tusrec.entry import exit_code_of
from tusrec.errors import WeightsError

log = logging.getLogger(__name__)

MEND = "pass the organisers' file best_validation_dist_model, downloaded whole"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict written by `torch.save`; raises WeightsError for all else."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read it ({error.strerror or error}); {MEND}") from error
    except Exception as error:  # a malformed pickle can end in almost any exception
        raise WeightsError(
            f"{path}: found no state dict that torch loads without running code from it "
            f"({type(error).__name__}); {MEND}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(w, Tensor) for w in found.values()):
        raise WeightsError(
            f"{path}: found a {type(found).__name__}, expected a dict of tensors only; {MEND}"
        )
    return dict(found)


def convert(path: Path, folder: Path | None = None) -> Path:
    """Check the weights of `path` and write them to `folder`; returns the file written.

    Raises WeightsError if they are not the baseline's, OutputError if `folder` is not writable.
    """
    weights = read_state_dict(path)
    check_weights(build_network(), weights, str(path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    training = f"the organisers' published weights, converted from {path.name}, sha256 {sha256}"
    return write_weights(Baseline.name, weights, ARCHITECTURE, training, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m model.convert_baseline",
        description="Convert the organisers' published baseline weights to safetensors.",
    )
    parser.add_argument("file", type=Path, help="their weight file, a pickled state dict")
    parser.add_argument("--output", type=Path, help="folder to write to (default: weights/)")
    options = parser.parse_args(arguments)
    return exit_code_of(partial(run, options))


def run(options: argparse.Namespace) -> int:
    """Convert the file that is named, and say where to."""
    log.info("wrote %s", convert(options.file, options.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
