#!/usr/bin/python3
"""Ten WS-DAN training steps in float64 with what float32 makes of them, for test/wsdan-step.test.ts.

Usage:  wsdan_step_torch.py OUTPUT.safetensors        (committed as test/fixtures/wsdan-step-torch.safetensors)

Weights and images come from portable.py. Besides the values in float64 the fixture holds how far PyTorch's own float32 run of the
same ten steps, with the same maps and thresholds, strays from them: the size of the errors that rounding alone causes.
"""
import sys

import torch

from portable import INPUT, fill, save_safetensors, signed, weights_in_order
from wsdan_reference import Network, SmallResidual, choose, summary, train_step, worst_relative

BACKBONE = {'stem': {'kind': 'small', 'width': 16, 'stride': 2}, 'depths': [1, 1], 'widths': [32, 64], 'strides': [2, 2]}
SIZE, BATCH, CLASSES, MAPS, STEPS = 64, 6, 5, 8, 10
LABELS = [0, 3, 3, 1, 4, 3]
SGD = {'lr': 1e-3, 'momentum': 0.9, 'weight_decay': 1e-5}
FULL_GRADIENTS = ('features.conv1.weight', 'features.bn1.bias', 'attentions.conv.weight', 'attentions.bn.weight', 'fc.weight')
PROJECTIONS = 3000
# float32 knows the maps to about 1e-6 of their maximum at first, and to 1e-4 after some steps.
SMALLEST_GAP = 2e-4


def after_first(net, result, centers):
    tensors = {f'logits.{name}': z for name, z in zip(('raw', 'crop', 'drop'), result['logits'])}
    tensors.update({'boxes': result['boxes'], 'centers': centers.clone()})
    named = dict(net.named_parameters())
    tensors.update({f'gradient.{name}': named[name].grad.clone() for name in FULL_GRADIENTS})
    tensors.update({f'running.{n}': b.clone() for n, b in net.named_buffers() if not n.endswith('num_batches_tracked')})
    return tensors


def run(dtype, draws):
    """All steps: tensors after the first one, gradients of the first, losses by step, the network, centers."""
    torch.set_default_dtype(dtype)
    net = fill(Network(SmallResidual(BACKBONE), MAPS, CLASSES)).to(dtype).train()
    images, labels = signed(INPUT, (BATCH, 3, SIZE, SIZE), 2.0).to(dtype), torch.tensor(LABELS)
    centers = torch.zeros(CLASSES, net.fc.in_features)
    optimiser = torch.optim.SGD(net.parameters(), **SGD)
    results = []
    for step in range(STEPS):
        optimiser.zero_grad()
        result = train_step(net, images, labels, centers, lambda maps: draws(step, maps))
        results.append(result)
        if step == 0:
            tensors = after_first(net, result, centers)
            gradients = {n: p.grad.clone() for n, p in net.named_parameters()}
        optimiser.step()
    return {'net': net, 'results': results, 'tensors': tensors, 'gradients': gradients, 'centers': centers}


def rounding(exact, rough):
    """How far float32 strays: terms by step, weights and centers after the last."""
    for a, b in zip(exact['results'], rough['results']):
        assert torch.equal(a['boxes'], b['boxes']), 'float32 drew another box'
    weights = zip(rough['net'].named_parameters(), exact['net'].parameters())
    return {
        'terms': [worst_relative(b['terms'], a['terms']) for a, b in zip(exact['results'], rough['results'])],
        'weights': max(float((p.double() - q).norm() / q.norm()) for (_, p), q in weights),
        'centers': worst_relative(rough['centers'], exact['centers']),
    }


def main():
    torch.set_num_threads(1)
    exact = run(torch.float64, lambda step, maps: choose(step, maps, SIZE, SMALLEST_GAP))
    rough = run(torch.float32, lambda step, maps: (exact['results'][step]['numbers'], exact['results'][step]['thetas']))
    band = rounding(exact, rough)
    for step, (result, error) in enumerate(zip(exact['results'], band['terms'])):
        print(f'step {step + 1}: ' + ' '.join(f'{v:.6f}' for v in result['terms'].tolist()), [b.tolist() for b in result['boxes'][:2]], f'float32 strays by {error:.1e}')
    print(f'weights {band["weights"]:.1e}, centers {band["centers"]:.1e}')
    tensors = exact['tensors']
    tensors.update({name: torch.stack([r[name] for r in exact['results']]) for name in ('terms', 'numbers', 'thetas')})
    tensors['centers.last'] = exact['centers']
    metadata = {
        'backbone': BACKBONE, 'size': SIZE, 'batch': BATCH, 'classes': CLASSES, 'maps': MAPS, 'labels': LABELS, 'sgd': SGD, 'order': weights_in_order(exact['net']),
        'gradients': summary(exact['gradients'].items(), PROJECTIONS), 'weights': summary(exact['net'].named_parameters(), PROJECTIONS), 'float32': band,
    }
    save_safetensors(sys.argv[1], tensors, metadata)


main()
