"""Checkpoints: whole or not at all, named when broken, and an average that forgets its start."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from model.weights import write_weights
from training.checkpoint import (
    Progress,
    State,
    begun,
    read_average,
    read_progress,
    restore,
    save,
    starting_weights,
)
from tusrec.errors import InputError, OutputError, WeightsError


def new(width: int = 3, model: str = "tusrec") -> State:
    network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    return begun(network, Progress(model, 3))


def stepped(width: int = 3, model: str = "tusrec") -> State:
    state = new(width, model)
    state.network(torch.ones(4, 2) * torch.arange(4)[:, None]).square().sum().backward()
    state.optimizer.param_groups[0]["lr"] = 0.1
    state.optimizer.step()
    state.average.update_parameters(state.network)
    state.progress = Progress(model, 3, 7, 70, 1.5, "0/5", ["clips"], "a file")
    return state


def test_all_that_was_saved_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.safetensors"
    before, after = stepped(), new()
    save(path, before)
    restore(path, after)
    assert after.progress == before.progress
    for a, b in ((before.network, after.network), (before.average, after.average)):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0)
    found, expected = (state.optimizer.state_dict()["state"] for state in (after, before))
    assert found.keys() == expected.keys()
    for number, state in expected.items():
        for name, value in state.items():
            torch.testing.assert_close(found[number][name], value, rtol=0, atol=0)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.safetensors"]


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, stepped(3))
    with pytest.raises(WeightsError, match="shape"):
        restore(path, new(4))


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
        save(tmp_path / "file" / "checkpoint.safetensors", stepped())


def test_the_average_soon_forgets_the_untrained_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = begun(network, Progress("tusrec", 0)).average
    nn.init.ones_(network.weight)
    for _ in range(100):
        average.update_parameters(network)
    assert average.module.state_dict()["weight"].item() > 0.99


class TestStartingWeights:
    """A run may begin with a shipped file or with an earlier run."""

    def test_those_of_a_run_are_its_average(self, tmp_path: Path) -> None:
        path = tmp_path / "first" / "checkpoint.safetensors"
        save(path, stepped())
        start = starting_weights(path, Progress("tusrec", 0))
        assert start.origin == "first (7 steps)"
        for name, value in read_average(path).items():
            torch.testing.assert_close(start.weights[name], value, rtol=0, atol=0)

    def test_a_shipped_file_is_held_against_its_manifest(self, tmp_path: Path) -> None:
        path = write_weights("tusrec", {"a": torch.ones(3)}, "?", "?", tmp_path)
        start = starting_weights(path, Progress("tusrec", 0))
        assert start.weights["a"].tolist() == [1, 1, 1]
        assert start.origin.startswith("tusrec.safetensors (sha256 ")
        path.write_bytes(path.read_bytes()[:-4] + b"abcd")
        with pytest.raises(WeightsError, match="sha256"):
            starting_weights(path, Progress("tusrec", 0))

    def test_a_run_of_another_model_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.safetensors"
        save(path, stepped(model="baseline"))
        with pytest.raises(WeightsError, match="baseline"):
            starting_weights(path, Progress("tusrec", 0))

    @pytest.mark.parametrize("fold", ["1/5", "0/4"])
    def test_a_run_that_saw_what_this_one_holds_out_is_refused(
        self, tmp_path: Path, fold: str
    ) -> None:
        path = tmp_path / "checkpoint.safetensors"
        save(path, stepped())
        with pytest.raises(InputError, match=f"clips with fold 0/5, expected {fold}"):
            starting_weights(path, Progress("tusrec", 0, fold=fold, data=["2025", "clips"]))

    @pytest.mark.parametrize(("fold", "data"), [("0/5", "clips"), ("1/5", "2025"), ("", "clips")])
    def test_a_run_on_the_same_fold_or_other_data_is_taken(
        self, tmp_path: Path, fold: str, data: str
    ) -> None:
        path = tmp_path / "checkpoint.safetensors"
        save(path, stepped())
        starting_weights(path, Progress("tusrec", 0, fold=fold, data=[data]))

    @pytest.mark.parametrize("now", ["0/5", "2/3"])
    def test_a_run_that_saw_people_whom_this_one_holds_out_is_refused_whatever_the_data_are_called(
        self, tmp_path: Path, now: str
    ) -> None:
        path, state = tmp_path / "checkpoint.safetensors", stepped()
        state.progress.data, state.progress.people = ["2024 (tracked)"], [1, 5]
        save(path, state)
        with pytest.raises(InputError, match=f"trained on subject 5, expected {now}"):
            starting_weights(path, Progress("tusrec", 0, fold=now, data=["2025 (tracked)"]))
        starting_weights(path, Progress("tusrec", 0, fold="2/5", data=["2025 (tracked)"]))
        assert starting_weights(path, Progress("tusrec", 0, fold=now, data=["clips"])).people == [
            1,
            5,
        ]

    def test_what_a_shipped_file_saw_counts_too(self, tmp_path: Path) -> None:
        seen = {"2025": "0/5"}
        weights = {"a": torch.ones(3)}
        path = write_weights("tusrec", weights, "?", "?", tmp_path, seen=seen, people=[3])
        start = starting_weights(path, Progress("tusrec", 0, fold="0/5", data=["2025"]))
        assert (start.seen, start.people) == (seen, [3])
        with pytest.raises(InputError, match="2025 with fold 0/5, expected 1/5"):
            starting_weights(path, Progress("tusrec", 0, fold="1/5", data=["2025"]))

    def test_what_earlier_runs_saw_is_not_forgotten_on_the_way(self, tmp_path: Path) -> None:
        state = stepped()
        state.progress.before = {"2025": "1/5"}
        path = tmp_path / "checkpoint.safetensors"
        save(path, state)
        with pytest.raises(InputError, match="2025 with fold 1/5, expected 0/5"):
            starting_weights(path, Progress("tusrec", 0, fold="0/5", data=["2025"]))
