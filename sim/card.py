"""What a data set is made of, as JSON beside it, so that no other is mixed into it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim import SIMULATOR
from tusrec.errors import InputError
from tusrec.files import readable, writable, write_json
from tusrec.names import KEYS_FILE

CARD = "simulation.json"


def write_card(folder: Path, order: Mapping[str, object], drawn: Mapping[str, object]) -> None:
    """Write what a data set is made of, unless it is there.

    order: what was asked for. drawn: what that gave, by scan. A set of the same order but for fewer
    scans is gone on with; until the others are there it has no list of keys. The card is the first
    file of a set. Raises InputError for a folder that holds other data, OutputError if it cannot be
    written.
    """
    path = folder / CARD
    card = json.loads(json.dumps({"simulator": SIMULATOR, "order": order, "scans": drawn}))
    if not path.exists():
        _require_empty(folder)
    else:
        found = read_card(path)
        if found == card:
            return
        _require_beginning(path, found, card)
        with writable(folder / KEYS_FILE):
            (folder / KEYS_FILE).unlink(missing_ok=True)
    write_json(path, card)


def read_card(path: Path) -> dict[str, Any]:
    """A card, or another object in a file of JSON; InputError if it holds none."""
    try:
        with readable(path):
            card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: found no JSON ({error}), expected what is made there; choose another folder"
        ) from error
    if not isinstance(card, dict):
        raise InputError(
            f"{path}: found a {type(card).__name__}, expected an object; choose another folder"
        )
    return card


def require_alike(path: Path, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Raise InputError that names the first entry of `expected` which is another in a file."""
    for name, value in expected.items():
        if found.get(name) != value:
            there, asked = ("none" if v is None else v for v in (found.get(name), value))
            raise InputError(
                f"{path}: found {name} {there}, expected {asked}; choose another folder, or remove "
                "this file and what it tells of"
            )


def _require_empty(folder: Path) -> None:
    """Raise InputError if a folder holds any but hidden files: a scan may have any name."""
    with readable(folder):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    there = sorted(name for name in names if not name.startswith("."))
    if there:
        raise InputError(
            f"{folder}: found {there[0]} and no {CARD}, expected no data but simulated ones; "
            "choose an empty folder"
        )


def _require_beginning(path: Path, found: dict[str, Any], card: dict[str, Any]) -> None:
    """Raise InputError unless a card's scans are the first of another's, of the same order."""
    order = {name: value for name, value in card["order"].items() if name != "scans"}
    require_alike(path, found, {"simulator": card["simulator"]})
    for part in ("order", "scans"):
        if not isinstance(found.get(part), dict):
            raise InputError(
                f"{path}: found no object {part}, expected the card of a simulated set; choose "
                "another folder"
            )
    require_alike(path, found["order"], order)
    if not found["scans"].items() <= card["scans"].items():
        raise InputError(
            f"{path}: found {len(found['scans'])} scans, expected these among the "
            f"{len(card['scans'])} that are asked for; ask for more, or choose another folder"
        )
