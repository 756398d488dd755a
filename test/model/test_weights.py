import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.weights import WEIGHTS_FOLDER, check_weights, load_into, load_weights, write_weights
from tusrec.errors import OutputError, WeightsError

Change = Callable[[dict[str, object]], object]


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -0.5])}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Tensor]) -> Path:
    write_weights("linear", weights, "one linear layer", "by hand", tmp_path)
    return tmp_path


def change_entry(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    listing = json.loads(path.read_text())
    change(listing["models"]["linear"])
    path.write_text(json.dumps(listing))


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_written_is_read_back(folder: Path, weights: dict[str, Tensor]) -> None:
    found, sha256 = load_weights("linear", folder)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    entry = json.loads((folder / "manifest.json").read_text())["models"]["linear"]
    assert entry == {
        "file": "linear.safetensors",
        "sha256": sha256,
        "size": (folder / "linear.safetensors").stat().st_size,
        "architecture": "one linear layer",
        "training": "by hand",
        "seen": {},
        "people": [],
    }
    assert load_file(folder / "linear.safetensors").keys() == weights.keys()


@pytest.mark.parametrize("wrong", ["", "linear.safetensors", "nowhere"])
def test_a_wrong_place_of_weights_is_told_which_folder_is_wanted(wrong: str, folder: Path) -> None:
    (folder / "manifest.json").unlink()  # as a training's folder has none
    with pytest.raises(WeightsError, match=r"name the folder with manifest.json") as caught:
        load_weights("linear", folder / wrong)
    assert str(folder / wrong) in one_line(caught)


def test_writing_again_replaces_and_leaves_other_models_and_nothing_else(folder: Path) -> None:
    write_weights("other", {"a": torch.zeros(1)}, "?", "?", folder)
    write_weights("linear", {"a": torch.ones(3)}, "?", "?", folder)
    assert load_weights("linear", folder)[0]["a"].tolist() == [1, 1, 1]
    assert load_weights("other", folder)[0]["a"].tolist() == [0]
    names = {path.name for path in folder.iterdir()}
    assert names == {"manifest.json", "linear.safetensors", "other.safetensors"}


def test_transposed_weights_are_written_as_they_look(tmp_path: Path) -> None:
    turned = torch.arange(6.0).reshape(2, 3).T
    write_weights("turned", {"a": turned}, "?", "?", tmp_path)
    assert torch.equal(load_weights("turned", tmp_path)[0]["a"], turned)


def test_the_repository_has_a_manifest_that_can_be_read() -> None:
    with pytest.raises(WeightsError, match="no weights of model 'nonesuch', found"):
        load_weights("nonesuch", WEIGHTS_FOLDER)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "linear.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"linear\.safetensors: cannot read") as caught:
        load_weights("linear", folder)
    one_line(caught)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"manifest\.json: cannot read it"):
        load_weights("linear", tmp_path)


def test_a_truncated_file_is_told_from_its_size(folder: Path) -> None:
    path = folder / "linear.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    expected = f"found {len(content) - 5} bytes, expected {len(content)}"
    with pytest.raises(WeightsError, match=expected) as caught:
        load_weights("linear", folder)
    assert str(path) in one_line(caught)


def test_one_flipped_bit_is_told_from_the_sha256(folder: Path) -> None:
    path = folder / "linear.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"found sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        load_weights("linear", folder)


def test_a_file_that_is_no_safetensors_is_refused_although_its_sha256_fits(folder: Path) -> None:
    path = folder / "linear.safetensors"
    path.write_bytes(b"not weights")
    sha256 = "c0f16e7fd3a3ea8d0a5f2c8d1c0b6f9d" * 2
    change_entry(folder, lambda entry: entry.update(size=11, sha256=sha256))
    with pytest.raises(WeightsError) as caught:
        load_weights("linear", folder)
    found = one_line(caught).split("found sha256 ")[1][:64]
    change_entry(folder, lambda entry: entry.update(sha256=found))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_weights("linear", folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": []}', '{"model": {}}', "\ufeff{}"])
def test_a_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"manifest\.json: found .*expected a manifest") as error:
        load_weights("linear", tmp_path)
    one_line(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.pop("sha256"),
        lambda entry: entry.update(licence="MIT"),
        lambda entry: entry.update(size="many"),
        lambda entry: entry.update(people=["sub001"]),
        lambda entry: entry.update(people=3),
        lambda entry: entry.update(file=None),
        lambda entry: entry.update(file="../secret.safetensors"),
        lambda entry: entry.update(file="/etc/passwd"),
    ],
)
def test_a_broken_line_of_the_manifest_is_refused(folder: Path, change: Change) -> None:
    change_entry(folder, change)
    with pytest.raises(WeightsError, match=r"manifest\.json: found .*expected a manifest"):
        load_weights("linear", folder)


def test_loading_sets_every_weight(weights: dict[str, Tensor]) -> None:
    module = nn.Linear(3, 2)
    load_into(module, weights, "here")
    assert torch.equal(module.weight, weights["weight"])
    assert torch.equal(module.bias, weights["bias"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bias": None}, "1 missing, the first bias"),
        ({"module.bias": torch.zeros(2)}, "1 unexpected, the first module.bias"),
        ({"bias": torch.zeros(3)}, r"bias has shape \(3,\), expected \(2,\)"),
        ({"bias": torch.zeros(2).half()}, "bias is torch.float16, expected torch.float32"),
        ({"bias": torch.tensor([0.0, torch.nan])}, "bias has NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_none_is_loaded(
    weights: dict[str, Tensor], change: dict[str, Tensor | None], complaint: str
) -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    changed = {name: w for name, w in (weights | change).items() if w is not None}
    with pytest.raises(WeightsError, match=f"^here: .*{complaint}") as caught:
        load_into(module, changed, "here")
    one_line(caught)
    assert torch.equal(module.weight, before)


def test_many_faults_are_counted_and_three_are_named() -> None:
    module = nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)])
    wrong = {name: torch.zeros(9) for name in module.state_dict()}
    with pytest.raises(WeightsError, match="and 3 more") as caught:
        check_weights(module, wrong, "here")
    assert one_line(caught).count("has shape") == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write it") as caught:
        write_weights("linear", {"a": torch.zeros(1)}, "?", "?", tmp_path / "weights")
    one_line(caught)


def test_a_full_disk_leaves_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = load_weights("linear", folder)[1]
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_weights("linear", {"a": torch.zeros(1)}, "?", "?", folder)
    assert load_weights("linear", folder)[1] == before
    assert not list(folder.glob("*.part"))
