#!/usr/bin/python3
"""A small WS-DAN recorded layer by layer in float64, for test/parity.test.ts.

Usage:  parity_torch.py OUTPUT.safetensors        (committed as test/fixtures/parity-torch.safetensors)

Weights come from portable.py. Of the larger weights no gradients are kept.
"""
import sys

import torch

from parity_fixture import record
from portable import INPUT, fill, signed, weights_in_order
from wsdan_reference import Network, SmallResidual

BACKBONE = {'stem': {'width': 16, 'stride': 2}, 'depths': [1, 1], 'widths': [32, 64], 'strides': [2, 2]}


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    net = fill(Network(SmallResidual(BACKBONE), 4, 3, scale=10.0))
    images = signed(INPUT, (2, 3, 16, 16), 2.0)
    small = {name for name, p in net.named_parameters() if p.numel() < 5000}
    record(net, images, sys.argv[1], 'wsdan', 'resnet_small', classes=3, wsdan={'attentions': 4, 'scale': 10}, parameters=lambda name: name in small, order=weights_in_order(net))


main()
