"""Checkpoints: whole or not at all, named when broken, and an average that forgets its start."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from training import checkpoint
from training.checkpoint import Progress, read_progress, restore, save
from tusrec.errors import OutputError, WeightsError

Parts = tuple[nn.Module, AveragedModel, torch.optim.AdamW]


def parts(width: int = 3) -> Parts:
    network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    return network, checkpoint.averaged(network), torch.optim.AdamW(network.parameters())


def stepped(width: int = 3) -> Parts:
    network, average, optimizer = parts(width)
    network(torch.ones(4, 2) * torch.arange(4)[:, None]).square().sum().backward()
    optimizer.step()
    average.update_parameters(network)
    return network, average, optimizer


def test_all_that_was_saved_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.safetensors"
    before, after = stepped(), parts()
    save(path, Progress("tusrec", 3, 7, 70, 1.5), *before)
    assert restore(path, *after) == Progress("tusrec", 3, 7, 70, 1.5)
    for a, b in zip(before[:2], after[:2], strict=True):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0)
    found, expected = (part[2].state_dict()["state"] for part in (after, before))
    assert found.keys() == expected.keys()
    for number, state in expected.items():
        for name, value in state.items():
            torch.testing.assert_close(found[number][name], value, rtol=0, atol=0)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.safetensors"]


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, Progress("tusrec", 0), *stepped(3))
    with pytest.raises(WeightsError, match="shape"):
        restore(path, *parts(4))


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        read_progress(path)
    with pytest.raises(WeightsError, match=r"missing\.safetensors"):
        read_progress(tmp_path / "missing.safetensors")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        save(tmp_path / "file" / "checkpoint.safetensors", Progress("tusrec", 0), *stepped())


def test_the_average_soon_forgets_the_untrained_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = checkpoint.averaged(network)
    nn.init.ones_(network.weight)
    for _ in range(100):
        average.update_parameters(network)
    assert average.module.state_dict()["weight"].item() > 0.99
