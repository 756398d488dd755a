"""The estimators by name; this is the list that `--model` offers."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from model.baseline import Baseline
from model.classical import Classical
from model.identity import Identity
from model.interface import Estimator
from model.learned import Learned
from tusrec.errors import InputError

ESTIMATORS: dict[str, Callable[[Path | None], Estimator]] = {
    "tusrec": Learned.from_weights,
    "classical": lambda _: Classical(),
    "baseline": Baseline,
    "identity": lambda _: Identity(),
}
"""Made with the folder of their weights, None for the shipped ones."""
DEFAULT_MODEL = "tusrec"


@lru_cache(maxsize=2)
def load_estimator(name: str, weights: Path | None = None) -> Estimator:
    """The estimator `name`, made once a process; WeightsError if its weights are not usable.

    InputError for weights of a model that has none.
    """
    estimator = ESTIMATORS[name](weights)
    if weights is not None and not estimator.weights_sha256:
        raise InputError(
            f"{weights}: found weights for model {name}, which has none; leave them out"
        )
    return estimator
