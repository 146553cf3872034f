#!/usr/bin/python3
"""One WS-DAN training step on Inception-v3 to Mixed_6e in float64, with what float32 makes of it.

Usage:  inception_step_torch.py OUTPUT.json        (committed as test/fixtures/inception-step-torch.json)

Batch 2, 224 pixels, 32 maps, 200 classes; weights and images come from portable.py, map numbers and thresholds are fixed. The biases of
the trunk's batch norms are 1: with 0 so many pooled products lie next to 0, where the signed root is steep, that a single rounding
of the input (6e-8) changes gradients by 1e-3 in the median and nothing could be compared; with 1 it changes them by 1e-7. Of each
gradient, running statistic and weight after the step the fixture holds the norm and a projection into which every element
enters; of weights, those of the change, since a step is small beside them. `float32` tells how far PyTorch's own float32 run of
the same step strays from these values. Takes a minute and 3 GB.
"""
import json
import sys

import torch

from portable import INPUT, fill, signed, weights_in_order
from wsdan_reference import Network, choose, summary, train_step, trunk, worst_relative

SIZE, BATCH, CLASSES, MAPS, LABELS = 224, 2, 200, 32, [17, 105]
SGD = {'lr': 1e-3, 'momentum': 0.9, 'weight_decay': 1e-5}
PROJECTIONS = 3000
# float32 knows these maps to about 1e-6 of their maximum.
SMALLEST_GAP, CANDIDATES = 5e-5, 4000


def run(dtype, draws):
    torch.set_default_dtype(dtype)
    net = fill(Network(trunk('inception_mixed_6e'), MAPS, CLASSES)).to(dtype).train()
    for name, value in net.features.state_dict().items():
        if name.endswith('bn.bias'):
            value.fill_(1)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    centers = torch.zeros(CLASSES, net.fc.in_features)
    optimiser = torch.optim.SGD(net.parameters(), **SGD)
    images = signed(INPUT, (BATCH, 3, SIZE, SIZE), 2.0).to(dtype)
    result = train_step(net, images, torch.tensor(LABELS), centers, draws)
    gradients = [(n, p.grad) for n, p in net.named_parameters()]
    norms = summary(gradients, PROJECTIONS)
    optimiser.step()
    running = [(n, b) for n, b in net.named_buffers() if not n.endswith('num_batches_tracked')]
    return {
        'order': weights_in_order(net), 'result': result, 'gradients': norms, 'running': summary(running, PROJECTIONS),
        'changes': summary([(n, p - before[n]) for n, p in net.named_parameters()], PROJECTIONS), 'centers': centers[LABELS].clone(),
    }


def apart(rough, exact):
    """Errors of a group of summaries relative to the norm, as [median, largest].

    Where batch norm follows without a ReLU that is ever off, the gradient of a bias is 0 but for rounding: norms below 1e-4 of the
    largest are taken as that.
    """
    floor = 1e-4 * max(norm for norm, _ in exact.values())
    errors = sorted(max(abs(a - b) for a, b in zip(rough[name], values)) / max(values[0], floor) for name, values in exact.items())
    return [errors[len(errors) // 2], errors[-1]]


def main():
    torch.set_num_threads(1)
    exact = run(torch.float64, lambda maps: choose(0, maps, SIZE, SMALLEST_GAP, CANDIDATES))
    good = exact['result']
    rough = run(torch.float32, lambda maps: (good['numbers'], good['thetas']))
    assert torch.equal(rough['result']['boxes'], good['boxes']), 'float32 drew another box'
    band = {
        'terms': worst_relative(rough['result']['terms'], good['terms']),
        'logits': max(worst_relative(a, b) for a, b in zip(rough['result']['logits'], good['logits'])),
        'centers': worst_relative(rough['centers'], exact['centers']),
        **{group: apart(rough[group], exact[group]) for group in ('gradients', 'running', 'changes')},
    }
    print('terms', good['terms'].tolist(), 'boxes', good['boxes'].tolist(), 'kept', good['kept'])
    print(band)
    with open(sys.argv[1], 'w') as file:
        json.dump({
            'size': SIZE, 'batch': BATCH, 'classes': CLASSES, 'maps': MAPS, 'labels': LABELS, 'sgd': SGD, 'order': exact['order'], 'float32': band,
            'terms': good['terms'].tolist(), 'boxes': good['boxes'].flatten().tolist(), 'kept': good['kept'],
            'logits': [z.flatten().tolist() for z in good['logits']], 'numbers': good['numbers'].flatten().tolist(), 'thetas': good['thetas'].tolist(),
            'gradients': exact['gradients'], 'running': exact['running'], 'changes': exact['changes'],
            'centers': {'head': exact['centers'][:, :8].tolist(), **summary([('all', exact['centers'])], PROJECTIONS)},
        }, file, separators=(',', ':'))
        file.write('\n')


main()
