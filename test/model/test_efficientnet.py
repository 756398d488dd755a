import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.baseline import build_network
from model.efficientnet import EfficientNetB1, SqueezeExcitation

# Our own numbers for the seeded weights below. On 23 November 2026 torchvision 0.28.0's
# efficientnet_b1 gave the same ones to the last bit. 1e-4 leaves room for other processors.
GOLDEN = [0.6777078, 0.504234, 0.6047685, -1.141015, 0.8163028, 1.877842]
GOLDEN_TOLERANCE = 1e-4


def seeded_weights(seed: int) -> dict[str, Tensor]:
    """Weights that keep activations near 1; variances so small that the norm's epsilon shows."""
    random = np.random.RandomState(seed)
    weights = {}
    for name, old in build_network().state_dict().items():
        if name.endswith("running_var"):
            new = 10.0 ** (random.rand(*old.shape) - 4)
        elif name.endswith("running_mean"):
            new = random.randn(*old.shape) * 0.01
        elif name.endswith("num_batches_tracked"):
            new = np.array(100)
        elif old.ndim == 4:
            new = random.randn(*old.shape) * 0.01 / np.sqrt(old[0].numel())
        elif old.ndim == 2:
            new = random.randn(*old.shape) / np.sqrt(old[0].numel())
        else:
            new = random.rand(*old.shape) * 0.5 + 0.5
        weights[name] = torch.from_numpy(new).to(old.dtype)
    return weights


@pytest.fixture(scope="module")
def network() -> EfficientNetB1:
    network = build_network()
    network.load_state_dict(seeded_weights(0))
    return network


def images(height: int, width: int) -> Tensor:
    pixels = np.random.RandomState(1).rand(1, 2, height, width)
    return torch.from_numpy(pixels).float()


@torch.inference_mode()
def test_seeded_weights_give_the_golden_numbers_on_a_full_frame_pair(
    network: EfficientNetB1,
) -> None:
    found = network(images(480, 640))[0].tolist()
    assert found == pytest.approx(GOLDEN, rel=GOLDEN_TOLERANCE)


@torch.inference_mode()
def test_the_golden_numbers_notice_another_epsilon_of_the_norm() -> None:
    network = build_network()
    network.load_state_dict(seeded_weights(0))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 2e-5
    found = network(images(480, 640))[0].tolist()
    assert found != pytest.approx(GOLDEN, rel=10 * GOLDEN_TOLERANCE)


def test_the_network_has_the_size_of_the_paper() -> None:
    images_to_classes = EfficientNetB1(3, 1000)
    assert sum(weight.numel() for weight in images_to_classes.parameters()) == 7_794_184
    stages = list(images_to_classes.features.children())[1:-1]
    assert [len(list(stage.children())) for stage in stages] == [2, 3, 3, 4, 4, 5, 2]


def test_weight_names_are_those_of_the_published_files() -> None:
    shapes = {name: tuple(w.shape) for name, w in build_network().state_dict().items()}
    assert len(shapes) == 508
    assert shapes["features.0.0.weight"] == (32, 2, 3, 3)
    assert shapes["features.1.0.block.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["features.1.0.block.1.fc1.weight"] == (8, 32, 1, 1)
    assert shapes["features.6.4.block.2.fc2.bias"] == (1152,)
    assert shapes["features.7.1.block.3.1.num_batches_tracked"] == ()
    assert shapes["features.8.1.running_var"] == (1280,)
    assert shapes["classifier.1.weight"] == (6, 1280)


@torch.inference_mode()
def test_features_are_a_thirty_second_of_the_image(network: EfficientNetB1) -> None:
    assert network.features(images(96, 160)).shape == (1, 1280, 3, 5)


@torch.inference_mode()
def test_evaluation_is_the_same_twice_although_training_drops_out(network: EfficientNetB1) -> None:
    pair = images(64, 64)
    assert torch.equal(network(pair), network(pair))
    network.classifier.train()
    try:
        assert not torch.equal(network(pair), network(pair))
    finally:
        network.eval()


def test_a_closed_gate_stops_every_channel() -> None:
    gate = SqueezeExcitation(channels=4, squeezed=2)
    nn.init.zeros_(gate.fc2.weight)
    bias = gate.fc2.bias
    assert bias is not None
    nn.init.constant_(bias, -200.0)
    assert gate(torch.ones(1, 4, 3, 3)).abs().max() == 0.0
    nn.init.zeros_(bias)
    assert torch.equal(gate(torch.ones(1, 4, 3, 3)), torch.full((1, 4, 3, 3), 0.5))
