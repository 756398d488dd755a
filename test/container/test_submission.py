"""container/submission.sh and sbom.sh with a container engine that only plays one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Of an image whose Python packages are under $IMAGE and whose torch is the build $BUILD.
ENGINE = """#!/bin/sh
echo "$1" >> "$CALLS"
case $1 in
  image) case "$*" in *revision*) echo abc-dirty ;; *) echo tusrec:latest ;; esac ;;
  run) echo "0.1.0 2.13.0$BUILD f00d" ;;
  create) [ -z "$NO_IMAGE" ] && echo created ;;
  export) tar -c -C "$IMAGE" usr ;;
  save) echo layers && [ -z "$NO_ROOM" ] ;;
esac
"""
TOOLS = {
    "python": 'mkdir -p "$4/lib/python3.11/site-packages"',
    "cyclonedx-py": 'while [ "$1" != --output-file ]; do shift; done; echo parts > "$2"',
    "pip-licenses": 'echo "| torch |"; [ -z "$NO_LICENCES" ]',
}


class Scripts:
    """The scripts in a folder of their own, beside an engine and tools that play theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("submission.sh", "sbom.sh"):
            self.write(name, (ROOT / "container" / name).read_text())
        self.write("engine.sh", ENGINE)
        for name, line in TOOLS.items():
            self.write(f"tools/{name}", f"#!/bin/sh\n{line}\n")

    def write(self, name: str, content: str) -> None:
        path = self.folder / "container" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)

    def run(self, name: str, *arguments: str, build: str = "", **settings: str) -> tuple[int, str]:
        """Exit code and what was said, of an image with a build of torch."""
        packages = self.folder / "image/usr/local/lib/python3.11/dist-packages"
        shutil.rmtree(packages, ignore_errors=True)
        (packages / f"torch-2.13.0{build}.dist-info").mkdir(parents=True)
        (packages / f"torch-2.13.0{build}.dist-info/METADATA").touch()
        mine = {"IMAGE": "image", "BUILD": build, "CALLS": "calls", "TOOLS": "container/tools"}
        mine = {
            key: value if key == "BUILD" else str(self.folder / value)
            for key, value in mine.items()
        }
        command = ["bash", str(self.folder / "container" / name), "tusrec", *arguments]
        environment = {"NO_IMAGE": "", "NO_ROOM": "", "NO_LICENCES": "", **os.environ, **mine}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, **settings},
            check=False,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


def test_a_submission_that_uses_no_gpu_is_refused_unless_it_is_asked_for(
    scripts: Scripts, tmp_path: Path
) -> None:
    code, said = scripts.run("submission.sh", str(tmp_path / "out"), build="+cpu")
    assert (code, list((tmp_path / "out").iterdir())) == (2, [])
    assert "found torch 2.13.0+cpu, which uses no GPU" in said
    assert scripts.run("submission.sh", str(tmp_path / "out"), "+cpu", build="+cpu")[0] == 0


def test_a_submission_tells_what_was_built_and_the_weights_in_it(
    scripts: Scripts, tmp_path: Path
) -> None:
    code, said = scripts.run("submission.sh", str(tmp_path / "out"))
    assert code == 0
    assert "tusrec 0.1.0, torch 2.13.0, revision abc-dirty" in said
    assert "weights   sha256 f00d" in said


def test_a_submission_that_cannot_be_saved_leaves_the_last_one(
    scripts: Scripts, tmp_path: Path
) -> None:
    archive = tmp_path / "out/tusrec.tar.gz"
    archive.parent.mkdir()
    archive.write_text("the last")
    assert scripts.run("submission.sh", str(archive.parent), NO_ROOM="1")[0] != 0
    assert archive.read_text() == "the last"
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("build", "failing"), [("", {"NO_LICENCES": "1"}), ("", {"NO_IMAGE": "1"}), ("+cpu", {})]
)
def test_licences_that_cannot_be_listed_leave_the_list_that_is_there(
    build: str, failing: dict[str, str], scripts: Scripts, tmp_path: Path
) -> None:
    listed = tmp_path / "out/LICENSES.md"
    listed.parent.mkdir()
    listed.write_text("all of them")
    places = str(tmp_path / "out/sbom.json"), str(listed)
    assert scripts.run("sbom.sh", *places, build=build, **failing)[0] != 0
    assert listed.read_text() == "all of them"
    assert list(listed.parent.iterdir()) == [listed]
    assert ("rm" in scripts.calls()) == ("NO_IMAGE" not in failing)
    assert scripts.run("sbom.sh", *places)[0] == 0
    assert "| torch |" in listed.read_text()
