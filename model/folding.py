"""A network as it runs: every batch normalisation folded into the layer before it."""

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def without_batch_norm(network: Network) -> Network:
    """A copy in evaluation mode that computes the same; the network itself stays as it is.

    Of each nn.Sequential, convolutions and linear layers that a batch normalisation follows.
    """
    folded = copy.deepcopy(network).eval()
    for block in [part for part in folded.modules() if isinstance(part, nn.Sequential)]:
        for number, (layer, norm) in enumerate(pairwise(list(block))):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.Conv2d):
                block[number], block[number + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
            elif isinstance(norm, nn.BatchNorm1d) and isinstance(layer, nn.Linear):
                block[number], block[number + 1] = fuse_linear_bn_eval(layer, norm), nn.Identity()
    return folded
