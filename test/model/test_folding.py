"""Batch normalisation folded away: the same numbers from fewer layers, the original untouched."""

import torch
from torch import nn

from model.canonical import SIDE
from model.folding import without_batch_norm
from model.pose_net import PoseNet


def trained() -> PoseNet:
    """A network whose batch normalisations have seen something."""
    torch.manual_seed(0)
    network = PoseNet()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return network


def answer(network: PoseNet) -> torch.Tensor:
    canvases = torch.randn(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    canvases[:, 1] = 1.0
    pairs = torch.tensor([[0, 1, 1], [1, 2, 1], [0, 2, 2]])
    none = torch.zeros(3, 100, 2)
    with torch.inference_mode():
        seen = network(canvases, pairs, torch.zeros(3, dtype=torch.long), torch.zeros(3, 6), none)
    return torch.cat([seen[1].motion, seen[1].log_scale])


def test_a_folded_network_answers_as_the_network_does() -> None:
    network = trained().eval()
    torch.testing.assert_close(
        answer(without_batch_norm(network)), answer(network), rtol=1e-3, atol=1e-4
    )


def test_no_batch_normalisation_is_left_and_all_are_left_in_the_original() -> None:
    def count(network: nn.Module) -> int:
        return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())

    network = trained().train()
    before, weights = count(network), {k: v.clone() for k, v in network.state_dict().items()}
    folded = without_batch_norm(network)
    assert count(folded) == 0
    assert not folded.training
    assert before == count(network) > 10
    assert network.training
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
