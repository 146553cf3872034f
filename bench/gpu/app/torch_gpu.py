"""PyTorch on the same GPU: matrix product, convolutions and the WS-DAN step, with TF32 off and on, and in float16 (the step by autocast).

Usage:  torch_gpu.py WORK.json OUTPUT.json cuda|cpu
"""
import json
import statistics
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import wsdan_torch

ROUNDS, TURN_SECONDS = 5, 0.02
CLASSES, MAPS = 200, 32
INCEPTION = ['Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'maxpool1', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3', 'maxpool2', 'Mixed_5b', 'Mixed_5c', 'Mixed_5d',
             'Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e']
RESNET = ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4']

device = sys.argv[3]


def finish():
    if device == 'cuda':
        torch.cuda.synchronize()


def milliseconds(work):
    """Median time of one run; several runs are waited for together where one is short."""
    for _ in range(3):
        work()
    finish()
    start = time.perf_counter()
    work()
    finish()
    repeats = max(1, int(TURN_SECONDS / (time.perf_counter() - start)))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        finish()
        times.append((time.perf_counter() - start) * 1e3 / repeats)
    return statistics.median(times)


def matrix_product(size, dtype):
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return milliseconds(lambda: a @ b)


def convolution(layer, dtype):
    """Forward and gradients in ms, each in the faster of PyTorch's two layouts."""
    n, h, w, c = layer['x']
    kh, kw, _, out = layer['w']
    best = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(n, c, h, w, dtype=dtype).to(memory_format=layout)
        weight = torch.randn(out, c, kh, kw, dtype=dtype).to(memory_format=layout)
        forward = lambda: F.conv2d(x, weight, stride=layer['stride'], padding=layer['padding'])
        dy = torch.randn_like(forward())
        gradient = lambda *mask: torch.ops.aten.convolution_backward(dy, x, weight, None, layer['stride'], layer['padding'], [1, 1], False, [0, 0], 1, [*mask, False])
        for direction, work in (('forward', forward), ('gradInput', lambda: gradient(True, False)), ('gradWeight', lambda: gradient(False, True))):
            best[direction] = min(best.get(direction, float('inf')), milliseconds(work))
    return best


def trunk(name):
    """torchvision's network up to its last feature map, and its channels."""
    import torchvision
    if name.startswith('inception'):
        network, names, channels = torchvision.models.inception_v3(aux_logits=False, init_weights=False), INCEPTION, 768
    else:
        network, names = getattr(torchvision.models, name)(), RESNET
        channels = network.fc.in_features
    return nn.Sequential(*(getattr(network, child) for child in names)), channels


class Network(wsdan_torch.WSDAN):
    """The WS-DAN of wsdan_torch.py on another backbone."""

    def __init__(self, name):
        nn.Module.__init__(self)
        self.features, channels = trunk(name)
        self.attention = nn.Conv2d(channels, MAPS, 1, bias=False)
        self.attention_bn = nn.BatchNorm2d(MAPS, eps=1e-3)
        self.fc = nn.Linear(MAPS * channels, CLASSES, bias=False)
        self.scale, self.rim = 100.0, 0


def wsdan_step(step, dtype):
    net = Network(step['model']).train()
    images, labels = torch.randn(step['batch'], 3, step['size'], step['size']), torch.randint(0, CLASSES, (step['batch'],))
    centers = torch.zeros(CLASSES, net.fc.in_features)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-5)
    rng = np.random.default_rng(0)
    options = SimpleNamespace(beta=0.05, crop_theta=(0.4, 0.6), drop_theta=(0.2, 0.5), crop_padding=0.1, center_weight=1.0, smoothing=0.0)

    def work():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast('cuda', dtype=torch.float16, enabled=dtype == torch.float16):
            wsdan_torch.train_step(net, images, labels, centers, rng, options)
        optimizer.step()
    return milliseconds(work)


def attempt(measure, *arguments):
    """A figure, or why there is none; the others are still wanted."""
    try:
        return measure(*arguments)
    except Exception as error:
        return {'problem': f'{type(error).__name__}: {error}'.split('\n')[0]}


def modes():
    """Name, whether TF32 is allowed, and the type of operands."""
    if device != 'cuda':
        return [('float32', False, torch.float32)]
    return [('float32', False, torch.float32), ('tf32', True, torch.float32), ('float16', True, torch.float16)]


def main():
    with open(sys.argv[1]) as file:
        work = json.load(file)
    figures = {'version': torch.__version__, 'gemmSize': work['gemm'], 'batches': {step['model']: step['batch'] for step in work['steps']}}
    if device == 'cuda':
        torch.set_default_device('cuda')
        torch.backends.cudnn.benchmark = True
        figures['device'] = torch.cuda.get_device_name()
    # Steps first: what is asked most, should the time run out.
    parts = {
        'steps': lambda dtype: {step['model']: attempt(wsdan_step, step, dtype) for step in work['steps']},
        'gemm': lambda dtype: attempt(matrix_product, work['gemm'], dtype),
        'convolutions': lambda dtype: {layer['name']: attempt(convolution, layer, dtype) for layer in work['convolutions']},
    }
    for part, measure in parts.items():
        for mode, allowed, dtype in modes():
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
            figures.setdefault(mode, {})[part] = measure(dtype)
            with open(sys.argv[2], 'w') as file:
                json.dump(figures, file)


main()
