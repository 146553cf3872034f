#!/usr/bin/python3
"""Writes test/fixtures/ops-torch.safetensors: outputs and gradients of PyTorch for test/ops-torch.test.ts.

Usage:  ops_torch.py [OUTPUT]

Images are made in PyTorch's NCHW and stored as NHWC; weights and matrices are stored as they are. Tensors are named CASE.x, CASE.weight, CASE.seed (the
gradient put in at the output), CASE.y and CASE.grad.x; the metadata entry "cases" lists name, op and options.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE.parent / 'fixtures' / 'ops-torch.safetensors'
tensors = {}
cases = []


def put(name, x, plain=False):
    image = x.dim() == 4 and not plain
    tensors[name] = (x.permute(0, 2, 3, 1) if image else x).detach().contiguous().numpy()


def record(name, op, options, leaves, y, extra=(), plain=()):
    """Stores inputs, output, a random gradient at the output, and the gradients of all leaves. `plain` names what is no image."""
    cases.append({'name': name, 'op': op, 'options': options})
    seed = torch.randn_like(y)
    grads = torch.autograd.grad(y, list(leaves.values()), seed)
    for (key, leaf), grad in zip(leaves.items(), grads):
        put(f'{name}.{key}', leaf, key in plain)
        put(f'{name}.grad.{key}', grad, key in plain)
    put(f'{name}.y', y, 'y' in plain)
    put(f'{name}.seed', seed, 'y' in plain)
    for key, value in extra:
        put(f'{name}.{key}', value)


def few_values(*shape):
    """Integers, so that windows have several maxima."""
    return torch.randint(-2, 3, shape).float().requires_grad_()


def with_nan(x):
    x = x.detach().clone()
    x[0, 0, 1, 1] = float('nan')
    x[0, 1, 2, 3] = float('nan')
    x[0, 1, 3, 3] = float('nan')
    return x.requires_grad_()


def window(kernel, stride, padding, ceil, **more):
    return {'kernelSize': kernel, 'stride': stride, 'padding': padding, 'ceilMode': ceil, **more}


def pooling():
    x = few_values(2, 3, 6, 7)
    for name, (k, s, p, ceil) in {
        'max-ties': (3, 2, 1, False), 'max-ceil': (3, 2, 0, True), 'max-ceil-padding': (2, 2, 1, True), 'max-overlap': ([3, 2], [1, 2], [1, 0], False),
    }.items():
        record(name, 'maxPool2d', window(k, s, p, ceil), {'x': x}, F.max_pool2d(x, k, s, p, ceil_mode=ceil))
    x = with_nan(few_values(1, 2, 5, 5))
    record('max-nan', 'maxPool2d', window(2, 1, 0, False), {'x': x}, F.max_pool2d(x, 2, 1))
    x = torch.randn(2, 5, 7, 6).requires_grad_()
    for name, (k, s, p, ceil, counted) in {
        'avg': (3, 2, 1, False, True), 'avg-uncounted': (3, 2, 1, False, False), 'avg-ceil': (3, 2, 1, True, True), 'avg-ceil-uncounted': ([2, 3], 2, 1, True, False),
    }.items():
        y = F.avg_pool2d(x, k, s, p, ceil_mode=ceil, count_include_pad=counted)
        record(name, 'avgPool2d', window(k, s, p, ceil, countIncludePad=counted), {'x': x}, y)
    for size in ([3, 4], [7, 6], [1, 1], [9, 2]):
        record(f'adaptive-avg-{size[0]}x{size[1]}', 'adaptiveAvgPool2d', {'output': size}, {'x': x}, F.adaptive_avg_pool2d(x, size))
    x = few_values(2, 3, 7, 6)
    record('adaptive-max', 'adaptiveMaxPool2d', {'output': [3, 4]}, {'x': x}, F.adaptive_max_pool2d(x, [3, 4]))


def batch_norm():
    for name, training, relu, mean, shape in (
        ('bn-train', True, False, 0.5, (4, 5, 3, 6)), ('bn-train-relu', True, True, 0.5, (3, 6, 5, 4)), ('bn-eval', False, False, 0.5, (2, 5, 3, 2)),
        ('bn-eval-relu', False, True, 0.5, (2, 5, 3, 2)), ('bn-far', True, False, 1000.0, (4, 3, 12, 11)),
    ):
        c = shape[1]
        x = (torch.randn(shape) + mean).requires_grad_()
        weight, bias = (torch.rand(c) + 0.5).requires_grad_(), torch.randn(c).requires_grad_()
        running_mean, running_var = torch.randn(c), torch.rand(c) + 0.5
        before = [('runningMean', running_mean.clone()), ('runningVar', running_var.clone())]
        # In float64, so that the case far from zero measures this project's rounding and not PyTorch's.
        wide = [t.double() for t in (running_mean, running_var)]
        y = F.batch_norm(x.double(), *wide, weight.double(), bias.double(), training, 0.2, 1e-5)
        y = (F.relu(y) if relu else y).float()
        after = [('newMean', wide[0].float()), ('newVar', wide[1].float())]
        options = {'training': training, 'momentum': 0.2, 'eps': 1e-5, 'activation': 'relu' if relu else 'none'}
        record(name, 'batchNorm2d', options, {'x': x, 'weight': weight, 'bias': bias}, y, before + after)


def rows():
    for name, reduction, smoothing, scale in (
        ('ce-mean', 'mean', 0.0, 3), ('ce-sum', 'sum', 0.1, 3), ('ce-none', 'none', 0.3, 3), ('ce-large', 'mean', 0.1, 300),
    ):
        x = (torch.randn(7, 11) * scale).requires_grad_()
        labels = torch.randint(0, 11, (7,))
        y = F.cross_entropy(x, labels, label_smoothing=smoothing, reduction=reduction)
        record(name, 'crossEntropy', {'labelSmoothing': smoothing, 'reduction': reduction}, {'x': x}, y, [('labels', labels.int())])
    x = (torch.randn(5, 13) * 4).requires_grad_()
    record('softmax', 'softmax', {}, {'x': x}, F.softmax(x, -1))
    record('log-softmax', 'logSoftmax', {}, {'x': x}, F.log_softmax(x, -1))
    x = torch.randn(4, 9).requires_grad_()
    record('normalize', 'l2Normalize', {}, {'x': x}, F.normalize(x, dim=-1))
    x = torch.zeros(2, 9).requires_grad_()
    record('normalize-zeros', 'l2Normalize', {}, {'x': x}, F.normalize(x, dim=-1))


def weighted_rows():
    for name, reduction, smoothing in (('ce-weight-mean', 'mean', 0.0), ('ce-weight-smooth-mean', 'mean', 0.2), ('ce-weight-smooth-sum', 'sum', 0.1), ('ce-weight-smooth-none', 'none', 0.3)):
        x = (torch.randn(70, 11) * 3).requires_grad_()
        labels, weights = torch.randint(0, 11, (70,)), torch.rand(11) * 4
        weights[2] = 0
        y = F.cross_entropy(x, labels, weight=weights, label_smoothing=smoothing, reduction=reduction)
        record(name, 'crossEntropy', {'labelSmoothing': smoothing, 'reduction': reduction}, {'x': x}, y, [('labels', labels.int()), ('classWeights', weights)])


def images():
    x = torch.randn(2, 3, 7, 6).requires_grad_()
    for size in ([20, 17], [4, 3]):
        for corners in (False, True):
            y = F.interpolate(x, size, mode='bilinear', align_corners=corners)
            record(f'resize-{size[0]}x{size[1]}-{"corners" if corners else "half-pixel"}', 'interpolate', {'size': size, 'alignCorners': corners}, {'x': x}, y)
    for name, stride, padding, dilation in (('conv-dilated', [1, 1], [2, 2], [2, 2]), ('conv-dilated-strided', [2, 2], [1, 3], [1, 3])):
        x, weight = torch.randn(2, 3, 9, 8).requires_grad_(), torch.randn(3, 3, 3, 5).requires_grad_()
        y = F.conv2d(x, weight.permute(3, 2, 0, 1), stride=stride, padding=padding, dilation=dilation)
        record(name, 'conv2d', {'stride': stride, 'padding': padding, 'dilation': dilation}, {'x': x, 'weight': weight}, y, plain=('weight',))


def products():
    plain = ('x', 'other', 'y')
    for name, a, b in (('matmul-2-by-4', (20, 7), (2, 3, 7, 5)), ('matmul-4-by-2', (2, 3, 4, 7), (7, 5)), ('matmul-1-by-4', (1, 1, 6, 7), (2, 3, 7, 5))):
        x, other = torch.randn(a).requires_grad_(), torch.randn(b).requires_grad_()
        record(name, 'matmul', {}, {'x': x, 'other': other}, x @ other, plain=plain)
    for name, equation, a, b in (
        ('einsum-attention', 'imjk,injk->imn', (2, 5, 6, 4), (2, 7, 6, 4)), ('einsum-channels-last', 'ijkm,ijkn->imn', (2, 6, 4, 5), (2, 6, 4, 7)),
    ):
        x, other = torch.randn(a).requires_grad_(), torch.randn(b).requires_grad_()
        record(name, 'einsum', {'equation': equation}, {'x': x, 'other': other}, torch.einsum(equation, x, other), plain=plain)


def save(path):
    codes = {'float32': 'F32', 'int32': 'I32'}
    header, offset = {'__metadata__': {'cases': json.dumps(cases), 'torch': torch.__version__}}, 0
    for name, data in tensors.items():
        header[name] = {'dtype': codes[str(data.dtype)], 'shape': list(data.shape), 'data_offsets': [offset, offset + data.nbytes]}
        offset += data.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for data in tensors.values():
            file.write(np.ascontiguousarray(data).tobytes())


if __name__ == '__main__':
    torch.manual_seed(1)
    pooling()
    batch_norm()
    rows()
    images()
    products()
    weighted_rows()
    save(sys.argv[1] if len(sys.argv) > 1 else OUTPUT)
