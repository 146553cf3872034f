#!/usr/bin/python3
"""The test protocol on a small trained network and 32 pictures, for test/protocol.test.ts.

Usage:  protocol_torch.py OUTPUT.safetensors        (committed as test/fixtures/protocol-torch.safetensors)

Pictures are drawn from the numbers of portable.py: a disk of two tones, which tell the class, on a chequered ground. They have the side
that evaluation resizes to, so that no resampling stands between the programs. The network is trained for a while in float32 and stored;
predictions are made in float64. Pictures whose box or order of classes hangs by a thread are passed over.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from portable import save_safetensors, uniform
from wsdan_reference import Network, SmallResidual, box_of, enlarged, upsampled

BACKBONE = {'stem': {'width': 8, 'stride': 2}, 'depths': [1, 1], 'widths': [16, 24], 'strides': [2, 2]}
SIDE, SIZE, CLASSES, MAPS, PICTURES = 48, 42, 10, 4, 32
THETA, PADDING = 0.1, 0.05
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FIRST_TEST, TRAINING, EPOCHS = 1000, 240, 12
SMALLEST_GAP = 1e-3


def picture(number):
    """uint8 [48, 48, 3] and the label."""
    label = number % CLASSES
    u = uniform(5000 + number, 300)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    cells = (y // 8) * 6 + x // 8
    pixels = np.stack([40 + np.floor(150 * u[cells * 3 + c]) for c in range(3)], -1)
    cy, cx, radius = (int(first + np.floor(span * u[k])) for first, span, k in ((12, 24, 200), (12, 24, 201), (5, 5, 202)))
    inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius ** 2
    for c in range(3):
        upper, lower = 60 + 35 * ((label + c) % 5), 220 - 40 * ((label // 2 + 2 * c) % 5)
        pixels[..., c] = np.where(inside, np.where(y < cy, upper, lower) + np.floor(50 * u[210 + c]), pixels[..., c])
    return np.clip(pixels, 0, 255).astype(np.uint8), label


def inputs(numbers):
    """Centre crops, normalised: float64 [N, 3, S, S], and labels."""
    first = (SIDE - SIZE) // 2
    drawn = [picture(n) for n in numbers]
    images = np.stack([(p[first:first + SIZE, first:first + SIZE] / 255 - MEAN) / STD for p, _ in drawn])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in drawn])


def trained():
    torch.manual_seed(0)
    net = Network(SmallResidual(BACKBONE), MAPS, CLASSES, scale=10.0)
    images, labels = inputs(range(TRAINING))
    images = images.float()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for index in torch.randperm(TRAINING).split(24):
            optimiser.zero_grad()
            F.cross_entropy(net(images[index])[0], labels[index]).backward()
            optimiser.step()
    return net.eval()


def predict(net, images):
    """Logits of the whole images and of the boxes, boxes, and by how much the nearest pixel misses the threshold."""
    logits, _, maps = net(images)
    mean = maps.mean(1)
    boxes = [box_of(m, SIZE, THETA, PADDING) for m in mean]
    gaps = [float((upsampled(m, SIZE) / m.max() - THETA).abs().min()) for m in mean]
    fine = net(torch.stack([enlarged(image, box) for image, box in zip(images, boxes)]))[0]
    return logits, fine, boxes, gaps


def margin(scores):
    """Smallest distance that decides top-1 or top-5."""
    ordered = scores.sort(1, descending=True)[0]
    return torch.minimum(ordered[:, 0] - ordered[:, 1], ordered[:, 4] - ordered[:, 5])


def main():
    torch.set_num_threads(1)
    net = trained()
    weights = {n: v.clone() for n, v in net.state_dict().items() if not n.endswith('num_batches_tracked')}
    net = net.double()
    numbers = list(range(FIRST_TEST, FIRST_TEST + 12 * PICTURES))
    with torch.no_grad():
        images, labels = inputs(numbers)
        raw, crop, boxes, gaps = predict(net, images)
    predictions = {'raw': raw.softmax(1), 'crop': crop.softmax(1), 'probabilities': (raw.softmax(1) + crop.softmax(1)) / 2, 'logits': ((raw + crop) / 2).softmax(1)}
    safe = [i for i in range(len(numbers)) if gaps[i] > 2e-5 and min(float(margin(p)[i]) for p in predictions.values()) > SMALLEST_GAP]
    # Pictures on which the ways of averaging differ come first: those are what the test is about.
    differs = [i for i in safe if predictions['probabilities'][i].argmax() != predictions['logits'][i].argmax()]
    chosen = sorted((differs + [i for i in safe if i not in differs])[:PICTURES])
    assert len(chosen) == PICTURES, len(chosen)
    counts = {}
    for name, p in predictions.items():
        best = p[chosen].topk(5)[1] == labels[chosen, None]
        counts[name] = [int(best[:, 0].sum()), int(best.sum())]
    print(counts, f'{len(differs)} pictures depend on the way of averaging')
    tensors = {**weights, **{f'predicted.{name}': p[chosen] for name, p in predictions.items()}}
    metadata = {'backbone': BACKBONE, 'side': SIDE, 'size': SIZE, 'classes': CLASSES, 'maps': MAPS, 'theta': THETA, 'padding': PADDING,
                'numbers': [numbers[i] for i in chosen], 'boxes': [boxes[i] for i in chosen], 'counts': counts, 'checksum': int(sum(int(picture(numbers[i])[0].sum()) for i in chosen))}
    save_safetensors(sys.argv[1], tensors, metadata)


main()
