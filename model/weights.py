"""Weight files: safetensors, each listed with its sha256 in `weights/manifest.json`.

The manifest is {"models": {name: {"file", "sha256", "size", "architecture", "training", "seen",
"people"}}},
`size` in bytes, `architecture` and `training` in words for the reader, `seen` and `people` what
folds go by.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tusrec.errors import WeightsError
from tusrec.files import require_writable, write_bytes, write_json

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
MANIFEST = "manifest.json"
MENDS = {"baseline": "run `make convert-baseline FILE=...` on the organisers' weight file"}
DEFAULT_MEND = "restore the file from the release that the manifest belongs to"
NAMED_MEND = (
    f"name the folder with {MANIFEST} that `python -m training.export ... --weights` wrote, or "
    "write it again"
)


@dataclass(frozen=True)
class Entry:
    """One model's line of the manifest.

    seen: names of the data it was trained on, and without the subjects of which fold if any.
    people: numbers of all tracked subjects that it was trained on.
    """

    file: str
    sha256: str
    size: int
    architecture: str
    training: str
    seen: dict[str, str] = field(default_factory=dict)
    people: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        texts = [self.file, self.sha256, self.architecture, self.training]
        texts += [*self.seen.keys(), *self.seen.values()]
        numbers = [self.size, *self.people]
        are_texts = all(isinstance(text, str) for text in texts)
        if not are_texts or not all(isinstance(number, int) for number in numbers):
            raise TypeError("a value of the wrong type")
        if Path(self.file).name != self.file:
            raise ValueError(f"file {self.file!r}, which is not a plain file name")


def load_weights(name: str, folder: Path | None = None) -> tuple[dict[str, Tensor], str]:
    """Tensors of model `name` and the sha256 of their file, read from `folder`.

    Raises WeightsError if the manifest or the file is missing or broken, or if the file is not
    the one of the manifest.
    """
    mend = MENDS.get(name, NAMED_MEND if folder else DEFAULT_MEND)
    folder = folder or WEIGHTS_FOLDER
    models = _read_manifest(folder / MANIFEST, mend)
    if name not in models:
        raise WeightsError(
            f"{folder / MANIFEST}: no weights of model {name!r}, found "
            f"{', '.join(sorted(models)) or 'none'}; {mend}"
        )
    path = folder / models[name].file
    content = _read_checked(path, models[name], mend)
    try:
        return safetensors.torch.load(content), models[name].sha256
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}); {mend}") from error


def seen_by(name: str, folder: Path) -> tuple[dict[str, str], list[int]]:
    """Data that weights `name` of `folder` were trained on, with which fold, and people."""
    entry = _read_manifest(folder / MANIFEST, DEFAULT_MEND)[name]
    return entry.seen, entry.people


def load_into(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Set all weights of `module`; raises WeightsError naming `source` unless every one fits."""
    check_weights(module, weights, source)
    module.load_state_dict(weights, strict=True)


def check_weights(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Raise WeightsError naming `source` unless names, shapes, types are `module`'s, all finite."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    common = [name for name in expected if name in weights]
    faults = [
        _fault("missing", missing),
        _fault("unexpected", unexpected),
        *(fault for name in common if (fault := _misfit(name, weights[name], expected[name]))),
    ]
    found = [fault for fault in faults if fault]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise WeightsError(
            f"{source}: not the weights of {type(module).__name__}: {'; '.join(found[:3])}{more}; "
            "use the weight file made for this architecture"
        )


def write_weights(
    name: str,
    weights: dict[str, Tensor],
    architecture: str,
    training: str,
    folder: Path | None = None,
    *,
    seen: Mapping[str, str] | None = None,
    people: Sequence[int] = (),
) -> Path:
    """Write `folder`/NAME.safetensors and its line of the manifest, each atomically.

    Killed between the two, the file no longer matches the manifest and `load_weights` says so.
    Raises OutputError if `folder` cannot be written, WeightsError if its manifest is broken.
    """
    folder = folder or WEIGHTS_FOLDER
    manifest, path = folder / MANIFEST, folder / f"{name}.safetensors"
    models = _listed_in(folder)
    content = safetensors.torch.save({key: w.detach().contiguous() for key, w in weights.items()})
    sha256 = hashlib.sha256(content).hexdigest()
    told = (architecture, training, dict(seen or {}), list(people))
    models[name] = Entry(path.name, sha256, len(content), *told)
    listing = {"models": {key: asdict(models[key]) for key in sorted(models)}}
    write_bytes(path, content, "it")
    write_json(manifest, listing)
    return path


def require_place_for_weights(folder: Path | None = None) -> None:
    """Raise before any work what `write_weights` would of a folder; it is made if need be."""
    folder = folder or WEIGHTS_FOLDER
    require_writable(folder)
    _listed_in(folder)


def _listed_in(folder: Path) -> dict[str, Entry]:
    manifest = folder / MANIFEST
    return _read_manifest(manifest, DEFAULT_MEND) if manifest.exists() else {}


def _read_manifest(path: Path, mend: str) -> dict[str, Entry]:
    try:
        listing = json.loads(path.read_text(encoding="utf-8"))
        return {name: Entry(**entry) for name, entry in listing["models"].items()}
    except OSError as error:
        raise WeightsError(f"{path}: cannot read it ({error.strerror}); {mend}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path}: found {error}, expected a manifest as model/weights.py describes; restore it"
        ) from error


def _read_checked(path: Path, entry: Entry, mend: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights ({error.strerror}); {mend}") from error
    if len(content) != entry.size:
        raise WeightsError(
            f"{path}: found {len(content)} bytes, expected {entry.size} as in {MANIFEST}; {mend}"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise WeightsError(
            f"{path}: found sha256 {sha256}, expected {entry.sha256} as in {MANIFEST}; {mend}"
        )
    return content


def _fault(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}, the first {names[0]}" if names else ""


def _misfit(name: str, found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape:
        return f"{name} has shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    if found.dtype != expected.dtype:
        return f"{name} is {found.dtype}, expected {expected.dtype}"
    return "" if bool(torch.isfinite(found).all()) else f"{name} has NaN or infinity"
