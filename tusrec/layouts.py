"""Finds the scans of an input: the challenge's folder layouts, or single files.

Challenge layouts (both years; a 2024 scan is a sweep, a 2025 scan a rotation):
  train       frames_transfs/SUBJECT/SCAN.h5 (frames and tforms), landmarks/, calib_matrix.csv
  validation  frames/SUBJECT/SCAN.h5, transfs/SUBJECT/SCAN.h5 (may be absent), landmarks/,
              calib_matrix.csv, dataset_keys.h5 whose keys name the scans
The validation archive of 2024 names its landmarks/ landmark/.
"""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tusrec.calibration import Calibration, from_spacing, read_calibration
from tusrec.dicom import DicomScan, is_dicom
from tusrec.errors import InputError
from tusrec.files import forbidden, in_utf8, readable
from tusrec.hdf5 import names, names_in, open_hdf5
from tusrec.names import CALIBRATION_FILE, KEYS_FILE
from tusrec.protocols import protocol_of
from tusrec.scans import Hdf5Scan, ScanSource, UnusableScan
from tusrec.sequences import SequenceScan, is_sequence

IMAGE_SIZE = (480, 640)  # of every challenge frame, height x width
KEY = re.compile(r"sub(\d+)__([A-Za-z0-9][A-Za-z0-9_.-]*)")
FRAMES_FOLDERS = ("frames", "frames_transfs")  # of the validation and of the train layout
LANDMARK_FOLDERS = ("landmarks", "landmark")
DICOM_INDEX = "DICOMDIR"  # of the images beside it; a disc may be mounted in small letters
LOOSE_FILES = "folder of files"  # the layout of whatever scans lie in a folder
PUT_INTO_HDF5 = "put the frames into an .h5, as docs/own-data.md tells"
_DICOM_ENDING = re.compile(r"\.dcm$", re.IGNORECASE)  # many have none, and dots in their names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputOptions:
    """What a user may say about an input that its files do not.

    calibration: a calib_matrix.csv to use instead of the dataset's own.
    image_to_probe: PLUS's ImageToProbe as a calibration, for sequence metafiles.
    poses: the dataset of poses in HDF5 files in place of `tforms`; simulated scans also have
        `tforms_tracked`.
    spacing: (x, y) pixel size in mm of single files; of DICOM in place of the file's own, of a
        sequence where it has none. A lone .h5 then has no truth.
    """

    calibration: Path | None = None
    image_to_probe: Calibration | None = None
    spacing: tuple[float, float] | None = None
    poses: str | None = None


OPTION_NAMES = {  # of those that some scans do not heed
    "calibration": "--calib",
    "image_to_probe": "--image-to-probe",
    "spacing": "--spacing",
    "poses": "--poses",
}
SUITED: dict[str, type[Hdf5Scan | SequenceScan]] = {
    "calibration": Hdf5Scan,
    "image_to_probe": SequenceScan,
    "poses": Hdf5Scan,
}


@dataclass(frozen=True)
class Dataset:
    """The scans of an input, in the order in which results are listed."""

    layout: str
    scans: list[ScanSource]


def find_scans(path: Path, options: InputOptions | None = None) -> Dataset:
    """The scans of a dataset folder, a folder of files, or one file.

    Raises InputError if nothing is there or it may not be read, if the dataset's calibration or
    list of keys is unusable, or if an option suits none of the scans. A single bad scan is listed
    all the same and fails when it is opened.
    """
    options = options or InputOptions()
    with readable(path):
        dataset = _found(path, options)
    scans = [_named_in_utf8(_with_poses(scan, options)) for scan in dataset.scans]
    return replace(dataset, scans=scans)


def _found(path: Path, options: InputOptions) -> Dataset:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; mount the data there or name others")
    root = _dataset_root(path) if path.is_dir() else None
    if root is not None:
        _require_suited(options, {"calibration", "poses"}, path)
        return _challenge_dataset(root, options)
    if path.is_dir():
        dataset = _loose_files(path, options)
    else:
        dataset = Dataset(f"single file {path.name}", [_single(path, options)])
    suited = {name for name, kind in SUITED.items() if _holds(dataset, kind)}
    if any(_heeds_spacing(scan, options) for scan in dataset.scans):
        suited.add("spacing")
    _require_suited(options, suited, path)
    return dataset


def _heeds_spacing(scan: ScanSource, options: InputOptions) -> bool:
    """Whether a scan's pixel size may be what --spacing says; another option may say it better."""
    if isinstance(scan, Hdf5Scan):
        return options.calibration is None
    return not isinstance(scan, SequenceScan) or options.image_to_probe is None


def _holds(dataset: Dataset, kind: type[Hdf5Scan | SequenceScan]) -> bool:
    """Whether any scan is of a kind, or may be: of what cannot be used that is not known."""
    return any(isinstance(scan, kind | UnusableScan) for scan in dataset.scans)


def _require_suited(options: InputOptions, suited: set[str], path: Path) -> None:
    """Raise InputError for an option that none of the scans would heed."""
    for name in OPTION_NAMES.keys() - suited:
        if getattr(options, name) is not None:
            raise InputError(
                f"{path}: found {OPTION_NAMES[name]}, which says nothing to the scans there, "
                f"expected {' or '.join(OPTION_NAMES[n] for n in sorted(suited))}; leave it out"
            )


def _with_poses(scan: ScanSource, options: InputOptions) -> ScanSource:
    if options.poses is None or not isinstance(scan, Hdf5Scan):
        return scan
    return replace(scan, poses_name=options.poses)


def _named_in_utf8(scan: ScanSource) -> ScanSource:
    """The scan, or one that says which name ITK, HDF5 and a report could not hold."""
    wrong = [name for name in (scan.key, *map(str, scan.paths)) if in_utf8(name) != name]
    if not wrong:
        return scan
    reason = f"{wrong[-1]}: found a name that is not UTF-8, expected one that is; rename it"
    if isinstance(scan, UnusableScan):
        reason = scan.reason
    return UnusableScan(in_utf8(scan.key), in_utf8(reason))


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in FRAMES_FOLDERS)


def _dataset_root(path: Path) -> Path | None:
    """`path`, or its only subfolder that is a dataset: archives unpack into a folder.

    Raises InputError if there is more than one dataset, or scans beside it.
    """
    if _is_dataset(path):
        return path
    folders = [folder for folder in path.iterdir() if folder.is_dir() and not _is_shut(folder)]
    inside = [folder for folder in folders if _is_dataset(folder)]
    if not inside:
        return None
    beside = _scans_beside(path)
    if len(inside) > 1 or beside:
        found = sorted(folder.name for folder in inside)
        found += [f"{len(beside)} files such as {beside[0].name}"] if beside else []
        raise InputError(
            f"{path}: holds several datasets ({', '.join(found)}), expected one; pass one of them"
        )
    return inside[0]


def _is_shut(folder: Path) -> bool:
    """Whether this user may not look into a folder, as into a disk's lost+found."""
    return not os.access(folder, os.X_OK)


def _scans_beside(folder: Path) -> list[Path]:
    """Files in a folder that are scans for certain.

    A run may leave its results and their exports there; results have no frames.
    """
    files = [file for file in _shown(folder) if _is_scan_file(file) and os.access(file, os.R_OK)]
    scans = [file for file in files if file.suffix != ".h5" or "frames" in names_in(file)]
    results = {file.stem for file in files if file not in scans}
    return [file for file in scans if _sequence_key(file) not in results]


def _challenge_dataset(root: Path, options: InputOptions) -> Dataset:
    if (root / "frames").is_dir() and (root / "frames_transfs").is_dir():
        raise InputError(
            f"{root}: holds several datasets (frames, frames_transfs), expected one; put each into "
            "a folder of its own, with its calibration and landmarks"
        )
    calibration = read_calibration(options.calibration or root / CALIBRATION_FILE)
    if (root / KEYS_FILE).exists() and _landmarks_folder(root) is None:
        log.warning(
            "%s: found no %s/, expected the challenge's landmarks; there will be none of any scan",
            root,
            "/ or ".join(LANDMARK_FOLDERS),
        )
    if (root / "frames_transfs").is_dir():
        kind, scans = "train", list(_train_scans(root, calibration))
    else:
        kind, scans = "validation", list(_validation_scans(root, calibration))
    if not scans:
        raise InputError(
            f"{root}: found no scans in the {kind} layout, expected SUBJECT/SCAN.h5 files; check "
            "the dataset's folders"
        )
    sweeps = sum("-" in protocol_of(scan.key) for scan in scans)
    year = 2024 if 2 * sweeps > len(scans) else 2025
    return Dataset(f"TUS-REC{year} {kind}", scans)


def _train_scans(root: Path, calibration: Calibration) -> Iterator[ScanSource]:
    for file in _scan_files(root / "frames_transfs"):
        yield _challenge_scan(root, file, calibration)


def _validation_scans(root: Path, calibration: Calibration) -> Iterator[ScanSource]:
    for key in _dataset_keys(root):
        match = KEY.fullmatch(key)
        if match is None:
            yield UnusableScan(
                key,
                f"{root / KEYS_FILE}: key {key!r} is not a scan of this dataset, expected "
                "sub<digits>__<scan name>; mend the key",
            )
            continue
        file = root / "frames" / match[1] / f"{match[2]}.h5"
        yield _challenge_scan(root, file, calibration)


def _dataset_keys(root: Path) -> list[str]:
    """The keys in the file's own order, which is the organisers'; without the file, all scans."""
    if (root / KEYS_FILE).exists():
        with open_hdf5(root / KEYS_FILE) as file:
            return names(file)
    return [f"sub{file.parent.name}__{file.stem}" for file in _scan_files(root / "frames")]


def _scan_files(folder: Path) -> list[Path]:
    """SUBJECT/SCAN.h5 in a folder. Not by a glob, which passes over what may not be read."""
    subjects = [place for place in _shown(folder) if place.is_dir()]
    return [file for place in subjects for file in _shown(place) if file.suffix == ".h5"]


def _shown(folder: Path) -> list[Path]:
    """What is in a folder, in order, but for hidden files: macOS leaves ._ files beside others."""
    return sorted(place for place in folder.iterdir() if not place.name.startswith("."))


def _landmarks_folder(root: Path) -> Path | None:
    """The folder of landmarks, by whichever name it is there."""
    folders = (root / name for name in LANDMARK_FOLDERS)
    return next((folder for folder in folders if folder.is_dir()), None)


def _challenge_scan(root: Path, file: Path, calibration: Calibration) -> Hdf5Scan | UnusableScan:
    """The scan of a dataset whose frames are in root/frames or root/frames_transfs.

    The challenge's own, which has keys, has frames of one size, and landmarks of all scans or none.
    """
    subject, name = file.parent.name, file.stem
    key = f"sub{subject}__{name}"
    together = file.parent.parent.name == "frames_transfs"
    poses = file if together else root / "transfs" / subject / file.name
    try:
        official = (root / KEYS_FILE).exists()
        folder = _landmarks_folder(root)
        landmarks = folder / f"landmark_{subject:0>3}.h5" if folder else None
        marked = landmarks is not None and (official or landmarks.exists())
        return Hdf5Scan(
            key=key,
            frames_path=file,
            calibration=calibration,
            poses_path=poses if together or poses.exists() else None,
            landmarks_path=landmarks if marked else None,
            landmarks_name=name,
            image_size=IMAGE_SIZE if official else None,
        )
    except PermissionError as error:
        return UnusableScan(key, str(forbidden(poses, error)))


def _loose_files(folder: Path, options: InputOptions) -> Dataset:
    files = [file for file in _shown(folder) if _is_scan_file(file)]
    if not files:
        shut = [place for place in _shown(folder) if place.is_dir() and _is_shut(place)]
        if shut:
            raise forbidden(shut[0], PermissionError())
        raise InputError(
            f"{folder}: found no scans, expected frames/ or frames_transfs/ (a TUS-REC dataset), "
            "or .h5, PLUS .mha or DICOM files; name the dataset's folder itself, or by itself, "
            f"with --spacing, a .mha that holds no transforms, or {PUT_INTO_HDF5}"
        )
    scans: dict[str, ScanSource] = {}
    for file in files:
        scan = _with_poses(_listed(file, options), options)
        if scan.key in scans:
            reason = f"{file}: another file is named {scan.key} too; rename one of them"
            scan = UnusableScan(file.name, reason)
        scans[scan.key] = scan
    return Dataset(LOOSE_FILES, list(scans.values()))


def _listed(file: Path, options: InputOptions) -> ScanSource:
    """A file's scan; one that cannot be listed says so when it is opened, like any bad scan."""
    try:
        with readable(file):
            return _single(file, options)
    except InputError as error:
        return UnusableScan(file.stem, str(error))


def _is_scan_file(file: Path) -> bool:
    if file.name == KEYS_FILE or file.name.upper() == DICOM_INDEX or not file.is_file():
        return False
    # What may not be read is listed, and fails as a scan: it could be one.
    return file.suffix == ".h5" or not os.access(file, os.R_OK) or _is_image(file)


def _is_image(file: Path) -> bool:
    return is_sequence(file) or is_dicom(file)


def _single(file: Path, options: InputOptions) -> ScanSource:
    if file.suffix == ".h5":
        return _single_hdf5(file, options)
    if is_dicom(file):
        return DicomScan(_DICOM_ENDING.sub("", file.name), file, options.spacing)
    if file.suffix in {".mha", ".mhd"}:
        return SequenceScan(_sequence_key(file), file, options.image_to_probe, options.spacing)
    raise InputError(
        f"{file}: unknown kind of file, expected .h5, .mha (PLUS sequence), DICOM, or a folder; "
        f"{PUT_INTO_HDF5}"
    )


def _sequence_key(file: Path) -> str:
    return re.sub(r"(\.igs)?\.mh[ad]$", "", file.name)


def _single_hdf5(file: Path, options: InputOptions) -> ScanSource:
    """A lone file; a scan of a challenge dataset keeps that dataset's poses and landmarks."""
    above = file.resolve().parents[1:2]  # nothing of a file at the top
    roots = [folder.parent for folder in above if folder.name in FRAMES_FOLDERS]
    if options.spacing and not options.calibration:
        # Without the image's place on the tool, tracked poses say nothing of the image.
        return Hdf5Scan(file.stem, file, from_spacing(*options.spacing))
    calibration = _single_calibration(file, roots, options)
    if roots:
        return replace(_challenge_scan(roots[0], file.resolve(), calibration), key=file.stem)
    with open_hdf5(file) as content:
        poses = file if options.poses or "tforms" in names(content) else None
    return Hdf5Scan(file.stem, file, calibration, poses)


def _single_calibration(file: Path, roots: list[Path], options: InputOptions) -> Calibration:
    places = [folder / CALIBRATION_FILE for folder in [file.parent, *roots]]
    found = [options.calibration] if options.calibration else [p for p in places if p.exists()]
    if not found:
        raise InputError(
            f"{file}: no {CALIBRATION_FILE} beside it; pass --calib FILE or --spacing X Y (mm)"
        )
    return read_calibration(found[0])
