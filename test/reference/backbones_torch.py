#!/usr/bin/python3
"""torchvision's backbones: names and shapes, features of some, and WS-DAN's logits on ResNet-50. All in float64.

Usage:  backbones_torch.py OUTPUT.json        (committed as test/fixtures/backbones-torch.json)

Weights and images come from portable.py. `names` maps the tensors of a trunk to their shapes; of the long lists only a SHA-256 of the
lines "name shape" is kept. `features` holds shape, norm and projection of feature maps in evaluation; `resnet50` the logits of WS-DAN,
with what PyTorch's float32 strays from them.
"""
import hashlib
import json
import sys

import torch
import torchvision

from portable import INPUT, fill, signed, weights_in_order
from wsdan_reference import Network, summary, trunk, worst_relative

LISTED, HASHED = ('inception_mixed_7c', 'vgg19', 'vgg19_bn'), ('resnet101', 'resnet152')
# Name, pixels.
FEATURES = (('inception_mixed_7c', 107), ('vgg19', 64), ('vgg19_bn', 64))
SIZE, BATCH, CLASSES, MAPS, PROJECTIONS = 96, 4, 10, 32, 2000


def entries(net):
    return {name: list(value.shape) for name, value in net.state_dict().items() if not name.endswith('num_batches_tracked')}


def digest(net):
    lines = sorted(f'{name} {",".join(map(str, shape))}' for name, shape in entries(net).items())
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def features(name, size, transform):
    net = fill(trunk(name)).eval()
    images = signed(INPUT, (2, 3, size, size), 2.0)
    if transform:
        images = torchvision.models.inception_v3(aux_logits=False, init_weights=False, transform_input=True)._transform_input(images)
    with torch.no_grad():
        y = net(images)
    return {'size': size, 'order': weights_in_order(net), 'shape': list(y.shape), 'features': summary([('all', y)], PROJECTIONS)['all'], 'head': y.flatten()[:8].tolist()}


def logits(dtype):
    torch.set_default_dtype(dtype)
    net = fill(Network(trunk('resnet50'), MAPS, CLASSES)).to(dtype)
    images = signed(INPUT, (BATCH, 3, SIZE, SIZE), 2.0).to(dtype)
    with torch.no_grad():
        return weights_in_order(net), {'eval': net.eval()(images)[0], 'train': net.train()(images)[0]}


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    found = {name: features(name, size, False) for name, size in FEATURES}
    found['transformed'] = features('inception_mixed_7c', 107, True)
    names = {'listed': {name: entries(trunk(name)) for name in LISTED}, 'hashed': {name: digest(trunk(name)) for name in HASHED}}
    order, exact = logits(torch.float64)
    _, rough = logits(torch.float32)
    resnet50 = {'size': SIZE, 'batch': BATCH, 'classes': CLASSES, 'maps': MAPS, 'order': order}
    for mode, values in exact.items():
        resnet50[mode] = {'logits': values.flatten().tolist(), 'float32': worst_relative(rough[mode], values)}
        print(mode, values[0, :4].tolist(), resnet50[mode]['float32'])
    with open(sys.argv[1], 'w') as file:
        json.dump({'names': names, 'features': found, 'resnet50': resnet50}, file, separators=(',', ':'))
        file.write('\n')


main()
