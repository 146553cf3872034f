#!/usr/bin/python3
"""torchvision's residual networks: names, sizes, and a forward and backward of ResNet-18 in float64.

Usage:  resnet_torch.py OUTPUT.json        (committed as test/fixtures/resnet-torch.json)

Weights and input come from portable.py. Gradients are those of sum(features * r) with fixed r; of each tensor the
fixture holds the norm and a projection on fixed numbers, into which every element enters.
"""
import json
import sys

import torch
import torchvision

from portable import INPUT, fill, projection, signed, weights_in_order

SIZE, BATCH = 64, 2
LOSS_WEIGHTS, PROJECTIONS = 1001, 2000


def entries(module):
    skip = ('fc.', 'num_batches_tracked')
    return {name: list(value.shape) for name, value in module.state_dict().items() if not name.startswith(skip[0]) and not name.endswith(skip[1])}


def features(net, x):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def summary(tensors):
    return {name: [float(value.detach().norm()), projection(value, PROJECTIONS + i)] for i, (name, value) in enumerate(tensors)}


def parity():
    torch.set_default_dtype(torch.float64)
    net = fill(torchvision.models.resnet18(num_classes=2)).double()
    order = [name for name in weights_in_order(net) if not name.startswith('fc.')]
    x = signed(INPUT, (BATCH, 3, SIZE, SIZE), 2.0)
    net.eval()
    evaluated = features(net, x)
    net.train()
    y = features(net, x)
    loss = (y * signed(LOSS_WEIGHTS, tuple(y.shape))).sum()
    loss.backward()
    named = [(n, p.grad) for n, p in net.named_parameters() if not n.startswith('fc.')]
    running = [(n, b) for n, b in net.named_buffers() if not n.endswith('num_batches_tracked')]
    return {
        'size': SIZE, 'batch': BATCH, 'order': order, 'loss': loss.item(), 'shape': list(y.shape),
        'eval': summary([('features', evaluated)]), 'train': summary([('features', y)]),
        'evalHead': evaluated.flatten()[:8].tolist(), 'trainHead': y.flatten()[:8].tolist(),
        'gradients': summary(named), 'running': summary(running),
    }


def main():
    models = {name: entries(getattr(torchvision.models, name)(num_classes=2)) for name in ('resnet18', 'resnet34', 'resnet50')}
    with open(sys.argv[1], 'w') as file:
        json.dump({'models': models, 'resnet18': parity()}, file, separators=(',', ':'))
        file.write('\n')


main()
