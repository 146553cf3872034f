#!/usr/bin/python3
"""Takes a model.ckpt into the reference's own structure, a row of torchvision's layers, and hands back what it computes.

Usage:  load_checkpoint.py MODEL CKPT SIZE BACK        (JSON on standard output)

Loading is strict: each name and shape must be that of the structure. Prints the eval logits of two images of portable.py, the loaded
feature centers' sum and the logs. Then all weights are changed and saved to BACK as the reference saves them, as epoch 8; the logits
of the changed network are printed too.
"""
import json
import sys

import numpy as np
import torch
import torch.nn as nn
import torchvision

from portable import INPUT, signed
from wsdan_reference import INCEPTION, Network

torch.set_num_threads(1)


def with_biases(block):
    """The reference's basic blocks have biases in front of batch norm."""
    for name in ('conv1', 'conv2'):
        conv = getattr(block, name)
        setattr(block, name, nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, 1, bias=True))


def features(model):
    """The reference cuts torchvision's networks into a plain sequence."""
    if model == 'inception_mixed_6e':
        net = torchvision.models.inception_v3(aux_logits=False, init_weights=False)
        row, channels = [getattr(net, name) for name in INCEPTION[:15]], 768
    else:
        net = getattr(torchvision.models, model)()
        if model in ('resnet18', 'resnet34'):
            for module in net.modules():
                if isinstance(module, torchvision.models.resnet.BasicBlock):
                    with_biases(module)
        row, channels = list(net.children())[:-2], net.fc.in_features
    row = nn.Sequential(*row)
    row.channels = channels
    return row


def main(model, path, size, back):
    checkpoint = torch.load(path)
    state = checkpoint['state_dict']
    classes, columns = state['fc.weight'].shape
    trunk = features(model)
    net = Network(trunk, columns // trunk.channels, classes)
    net.load_state_dict(state, strict=True)
    images = signed(INPUT, (2, 3, size, size), 2.0).float()
    result = {'keys': len(state), 'logits': logits(net, images), 'centers': float(checkpoint['feature_center'].double().sum()), 'logs': checkpoint['logs']}
    with torch.no_grad():
        for number, (name, value) in enumerate(net.state_dict().items()):
            if value.is_floating_point():
                noise = signed(5000 + number, tuple(value.shape), 0.05).float() if value.dim() else 0
                value.mul_(1 + noise) if value.dim() > 1 or name.endswith('running_var') else value.add_(noise)
    logs = {'epoch': 8, 'lr': 0.001, 'val_loss': 1.5, 'val_topk_accuracy': np.array([70.5, 90.0])}
    torch.save({'logs': logs, 'state_dict': net.state_dict(), 'feature_center': torch.full((classes, columns), 0.5)}, back)
    json.dump({**result, 'changed': logits(net, images)}, sys.stdout)


def logits(net, images):
    net.eval()
    with torch.no_grad():
        return net(images)[0].double().flatten().tolist()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
