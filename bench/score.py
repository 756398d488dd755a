"""Every estimator, and ours with what an oracle could tell it, on scans that none was trained on.

python -m bench.score [--checkpoint FILE] [--baseline-checkpoint FILE] [--real DIR] [--json FILE]

First the held-out simulated set (`bench.held_out`, made on the first run) against exact poses,
then real tracked scans where there are any, whose truth jitters. Of each: the challenge's errors
and scores; slopes and correlations of local motion; pairs of frames at several intervals with the
sign left open. Last the bars of the pose model.

Rows. constant motion: the scan's mean true motion. better mirror: that of the whole scan. oracle
sign: that of each step; + oracle scale: one number a scan and freedom too; + oracle bias: likewise.
pairs: as measured, before they are fused into steps. The other rows' pairs follow from the steps.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench import held_out
from bench.console import say
from bench.measured import OURS, Ours, measure
from bench.score_bars import Bar, real_bars, simulated_bars
from bench.score_tables import Group, groups, text
from model.baseline import Baseline
from model.classical import Classical
from model.interface import Estimator
from model.weights import write_weights
from training.checkpoint import read_average, read_progress
from tusrec.entry import exit_code_of
from tusrec.files import write_json
from tusrec.layouts import find_scans

REAL = Path("../shared/real")
BARRED = "leg_linear"  # the real scans that the bars are about


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all tables: 0 done, 2 or 4 something was missing or unusable."""
    options = parser().parse_args(arguments)
    return exit_code_of(partial(run, options))


def run(options: argparse.Namespace) -> int:
    """Measure all data sets, print their tables and the bars, and write both as JSON."""
    estimators = chosen_estimators(options.checkpoint, options.baseline_checkpoint)
    simulated = options.set or held_out.make(held_out.FOLDER, held_out.items(), jobs=2)
    say(f"on {torch.get_num_threads()} threads of the CPU")
    found = {"simulated": tables("simulated", simulated, estimators)}
    bars = list(simulated_bars(found["simulated"]))
    for folder in real_datasets(options.real):
        found[folder.name] = tables(folder.name, folder, estimators)
        bars += real_bars(folder.name, found[folder.name]) if folder.name == BARRED else []
    say("", *(bar.line() for bar in bars))
    if options.json:
        write_json(options.json, as_json(estimators, found, bars))
    return 0


def chosen_estimators(
    checkpoint: Path | None, baseline_checkpoint: Path | None
) -> dict[str, Estimator]:
    """The estimators by row; the baseline only if its checkpoint is given.

    Raises WeightsError if a checkpoint, or without one weights/tusrec.safetensors, is unusable.
    """
    estimators: dict[str, Estimator] = {"classical": Classical()}
    if baseline_checkpoint:
        with as_weights(Baseline.name, baseline_checkpoint) as folder:
            estimators["baseline"] = Baseline(folder)
    if checkpoint is None:
        return estimators | {OURS: Ours.from_weights()}
    with as_weights(Ours.name, checkpoint) as folder:
        return estimators | {OURS: Ours.from_weights(folder)}


@contextmanager
def as_weights(name: str, checkpoint: Path) -> Iterator[Path]:
    """A folder with the averaged weights of a checkpoint of train.py as those of model `name`."""
    progress = read_progress(checkpoint)
    training = f"{progress.step} steps, {progress.minutes:.0f} minutes"
    with tempfile.TemporaryDirectory(prefix="tusrec-score-") as folder:
        write_weights(name, read_average(checkpoint), "", training, Path(folder))
        yield Path(folder)


def real_datasets(folder: Path) -> list[Path]:
    """`folder` if it is a data set, or those in it; says so where there is none."""
    places = (folder, *sorted(folder.glob("*")))
    found = [p for p in places if (p / "frames").is_dir() or (p / "frames_transfs").is_dir()]
    if not found:
        say(f"{folder}: no real scans here, so none are measured")
    return found


def tables(name: str, dataset: Path, estimators: Mapping[str, Estimator]) -> dict[str, Group]:
    """Print the tables of a data set, and give what stands in them."""
    found = sum_up(dataset, estimators)
    say(*text(name, found))
    return found


def sum_up(dataset: Path, estimators: Mapping[str, Estimator]) -> dict[str, Group]:
    """All scans of a data set, by kind. Raises InputError for one that cannot be measured."""
    scans = tqdm(find_scans(dataset).scans, unit="scan", desc=dataset.name)
    return groups([measure(source, estimators) for source in scans])


def as_json(
    estimators: Mapping[str, Estimator],
    found: Mapping[str, Mapping[str, Group]],
    bars: Sequence[Bar],
) -> dict[str, Any]:
    """Every number of the tables, and whose weights they are of."""
    return {
        "weights": {name: estimator.weights_sha256 for name, estimator in estimators.items()},
        "threads": torch.get_num_threads(),
        "data": {
            name: {kind: asdict(group) for kind, group in kinds.items()}
            for name, kinds in found.items()
        },
        "bars": [asdict(bar) | {"held": bar.held} for bar in bars],
    }


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="bench.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--set", type=Path, metavar="DIR", help="another data set with exact poses")
    add("--real", type=Path, default=REAL, metavar="DIR", help="a tracked data set, or several")
    add("--checkpoint", type=Path, metavar="FILE", help="of train.py, in place of the weights")
    add("--baseline-checkpoint", type=Path, metavar="FILE", help="of train.py --model baseline")
    add("--json", type=Path, metavar="FILE", help="write all numbers there too")
    return command


if __name__ == "__main__":
    sys.exit(main())
