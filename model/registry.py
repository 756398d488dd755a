"""The estimators by name; this is the list that `--model` offers."""

from functools import lru_cache

from model.baseline import Baseline
from model.classical import Classical
from model.identity import Identity
from model.interface import Estimator

ESTIMATORS = {"classical": Classical, "baseline": Baseline, "identity": Identity}
DEFAULT_MODEL = "classical"


@lru_cache(maxsize=2)
def load_estimator(name: str) -> Estimator:
    """The estimator `name`, made once a process; WeightsError if its weights are not usable."""
    estimator: Estimator = ESTIMATORS[name]()
    return estimator
