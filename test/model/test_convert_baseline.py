import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.baseline import Baseline, build_network
from model.convert_baseline import main
from model.weights import load_weights


class Trap:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build_network().state_dict()


def convert(path: Path, caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    """Exit code and the one line that is logged."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        code = main([str(path), "--output", str(path.parent / "weights")])
    (line,) = caplog.messages
    assert "\n" not in line
    return code, line


def test_every_weight_survives_and_the_estimator_takes_them(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state_dict, tmp_path / "best_validation_dist_model")
    code, line = convert(tmp_path / "best_validation_dist_model", caplog)
    assert code == 0
    assert line == f"wrote {tmp_path / 'weights' / 'baseline.safetensors'}"
    found, sha256 = load_weights("baseline", tmp_path / "weights")
    assert found.keys() == state_dict.keys()
    assert all(torch.equal(found[name], state_dict[name]) for name in found)
    assert Baseline(tmp_path / "weights").weights_sha256 == sha256


def test_converting_twice_gives_the_same_file(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state_dict, tmp_path / "model")
    convert(tmp_path / "model", caplog)
    first = load_weights("baseline", tmp_path / "weights")[1]
    convert(tmp_path / "model", caplog)
    assert load_weights("baseline", tmp_path / "weights")[1] == first


def test_the_older_file_format_of_torch_is_read_too(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state_dict, tmp_path / "model", _use_new_zipfile_serialization=False)
    assert convert(tmp_path / "model", caplog)[0] == 0


@pytest.mark.parametrize("name", ["features.0.0.weight", "classifier.1.bias"])
def test_a_network_of_another_shape_is_refused(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    torch.save(state_dict | {name: torch.zeros(7)}, tmp_path / "model")
    code, line = convert(tmp_path / "model", caplog)
    assert code == 4
    assert f"{name} has shape (7,), expected" in line


def test_a_state_dict_with_a_prefix_is_refused(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({f"module.{name}": w for name, w in state_dict.items()}, tmp_path / "model")
    code, line = convert(tmp_path / "model", caplog)
    assert code == 4
    assert "508 missing" in line
    assert not (tmp_path / "weights").exists()


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trap = Trap(tmp_path / "sprung")
    torch.save({"weight": trap}, tmp_path / "zipped")
    (tmp_path / "plain").write_bytes(pickle.dumps(trap, protocol=2))
    for name in ("zipped", "plain"):
        code, line = convert(tmp_path / name, caplog)
        assert code == 4
        assert "without running code" in line
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("saved", [{"model": {"a": torch.zeros(1)}}, torch.zeros(2), [1], 7])
def test_other_saved_objects_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, saved: object
) -> None:
    torch.save(saved, tmp_path / "model")
    code, line = convert(tmp_path / "model", caplog)
    assert code == 4
    assert "expected a dict of tensors only" in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        b"PK\x03\x04 cut",
        b"\x80",
    ],
    ids=["empty", "a pointer", "a cut archive", "a cut pickle"],
)
def test_files_that_are_no_weights_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "model").write_bytes(content)
    code, line = convert(tmp_path / "model", caplog)
    assert code == 4
    assert line.startswith(f"error: {tmp_path / 'model'}: found no state dict")


def test_a_download_that_broke_off_is_refused(
    tmp_path: Path, state_dict: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state_dict, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[: len(content) // 2])
    assert convert(tmp_path / "model", caplog)[0] == 4


def test_a_missing_file_and_a_folder_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        code, line = convert(path, caplog)
        assert code == 4
        assert line.startswith(f"error: {path}: cannot read it")


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--nonesuch"]])
def test_wrong_arguments_exit_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
