"""container/install.sh with a python that only tells what it is asked to install."""

import os
import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[2] / "container/install.sh"
STUB = """#!/bin/sh
case $1 in -c) echo {torch} ;; *) echo "$@" ;; esac
"""


def asked(tmp_path: Path, *options: str) -> list[str]:
    """The calls of pip that install.sh makes for an empty folder of wheels and `options`."""
    (tmp_path / "wheels").mkdir()
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    stub.write_text(STUB.format(torch=tmp_path / "torch"))
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    command = ["sh", str(INSTALL), str(tmp_path / "wheels"), *options]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if " install " in line]


@pytest.mark.parametrize("build", ["cpu", "cuda13"])
def test_a_locked_torch_is_also_looked_for_at_the_index_and_held_to_its_hash(
    build: str, tmp_path: Path
) -> None:
    common, torch = asked(tmp_path, build, "https://index.example")
    assert "index" not in common
    assert "--extra-index-url https://index.example --require-hashes" in torch
    assert torch.endswith(f"locks/{build}.txt")


def test_another_build_is_the_locked_version_from_the_index(tmp_path: Path) -> None:
    _, torch = asked(tmp_path, "cu126", "https://index.example")
    assert "--extra-index-url https://index.example torch==" in torch
    assert torch.endswith("+cu126")


def test_without_a_build_or_an_index_pip_looks_where_it_does_anyhow(tmp_path: Path) -> None:
    calls = asked(tmp_path)
    assert not any("--extra-index-url" in call for call in calls)
    assert calls[1].endswith("locks/cuda13.txt")
