#!/usr/bin/python3
"""Ten WS-DAN training steps in float64, written from the paper and the published loop, for test/wsdan-step.test.ts.

Usage:  wsdan_step_torch.py OUTPUT.safetensors        (committed as test/fixtures/wsdan-step-torch.safetensors)

Weights and images come from portable.py. Map numbers and thresholds are fixed and stored; each threshold is the one,
among some, that stays farthest from every pixel of its upsampled map, so that float32 draws the same boxes and masks.
"""
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from torchvision.models.resnet import BasicBlock

from portable import INPUT, fill, projection, save_safetensors, signed, uniform, weights_in_order

BACKBONE = {'stem': {'kind': 'small', 'width': 16, 'stride': 2}, 'depths': [1, 1], 'widths': [32, 64], 'strides': [2, 2]}
SIZE, BATCH, CLASSES, MAPS, STEPS = 64, 6, 5, 8, 10
LABELS = [0, 3, 3, 1, 4, 3]
SGD = {'lr': 1e-3, 'momentum': 0.9, 'weight_decay': 1e-5}
BETA, SCALE, CROP_PADDING = 0.05, 100.0, 0.1
CROP_THETA, DROP_THETA, CANDIDATES = (0.4, 0.6), (0.2, 0.5), 40
FULL_GRADIENTS = ('features.conv1.weight', 'features.bn1.bias', 'attentions.conv.weight', 'attentions.bn.weight', 'fc.weight')
PROJECTIONS = 3000


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        width = BACKBONE['stem']['width']
        self.conv1 = nn.Conv2d(3, width, 3, BACKBONE['stem']['stride'], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = zip(BACKBONE['depths'], BACKBONE['widths'], BACKBONE['strides'])
        for number, (depth, channels, stride) in enumerate(stages, 1):
            blocks = []
            for i in range(depth):
                step = stride if i == 0 else 1
                around = None
                if step != 1 or width != channels:
                    around = nn.Sequential(nn.Conv2d(width, channels, 1, step, bias=False), nn.BatchNorm2d(channels))
                blocks.append(BasicBlock(width, channels, step, around))
                width = channels
            setattr(self, f'layer{number}', nn.Sequential(*blocks))
        self.channels = width

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, len(BACKBONE['depths']) + 1):
            x = getattr(self, f'layer{number}')(x)
        return x


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, MAPS, 1, bias=False)
        self.bn = nn.BatchNorm2d(MAPS, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = Backbone()
        self.attentions = Head(self.features.channels)
        self.fc = nn.Linear(MAPS * self.features.channels, CLASSES, bias=False)

    def forward(self, x):
        features = self.features(x)
        maps = self.attentions(features)
        parts = torch.stack([(maps[:, m:m + 1] * features).mean((2, 3)) for m in range(MAPS)], 1).flatten(1)
        rooted = parts.sign() * torch.sqrt(parts.abs() + 1e-12)
        matrix = rooted / rooted.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return self.fc(SCALE * matrix), matrix, maps


def upsampled(one_map):
    return F.interpolate(one_map[None, None], (SIZE, SIZE), mode='bilinear', align_corners=True)[0, 0]


def safest_theta(one_map, low, high):
    """The threshold, among some in the range, whose distance to the nearest pixel is largest: (theta, distance)."""
    pixels = upsampled(one_map) / one_map.max()
    candidates = torch.linspace(low, high, CANDIDATES).to(torch.float32).to(torch.float64)
    gaps = (pixels[None] - candidates[:, None, None]).abs().flatten(1).min(1)[0]
    best = int(gaps.argmax())
    return float(candidates[best]), float(gaps[best])


def crop(image, one_map, theta):
    hot = upsampled(one_map) >= theta * one_map.max()
    rows, columns = hot.any(1).nonzero().flatten(), hot.any(0).nonzero().flatten()
    y0, x0 = (max(int(float(edge[0]) - CROP_PADDING * SIZE), 0) for edge in (rows, columns))
    y1, x1 = (min(int(float(edge[-1]) + CROP_PADDING * SIZE), SIZE) for edge in (rows, columns))
    region = image[None, :, y0:y1, x0:x1]
    return F.interpolate(region, (SIZE, SIZE), mode='bilinear', align_corners=True)[0], [y0, x0, y1, x1]


def drop(image, one_map, theta):
    return image * (upsampled(one_map) < theta * one_map.max())


def drawn(step, maps):
    """Map numbers [B, 2] and thresholds [2, B] of a step; only maps with some attention are chosen."""
    numbers, thetas, gaps = [], [], []
    for b in range(BATCH):
        alive = [m for m in range(MAPS) if maps[b, m].max() > 0.1]
        picks = [alive[int(u * len(alive))] for u in uniform(4000 + step, 2 * BATCH)[2 * b:2 * b + 2]]
        numbers.append(picks)
        chosen = [safest_theta(maps[b, m], *limits) for m, limits in zip(picks, (CROP_THETA, DROP_THETA))]
        thetas.append([theta for theta, _ in chosen])
        gaps += [gap for _, gap in chosen]
    # float32 knows the maps to about 1e-6 of their maximum at first, and to 1e-4 after some steps.
    assert min(gaps) > 2e-4, f'step {step}: a pixel lies {min(gaps)} from its threshold'
    return torch.tensor(numbers), torch.tensor(thetas).t().contiguous()


def train_step(net, images, labels, centers, step):
    """Losses and gradients of one step; centers change."""
    logits, matrix, maps = net(images)
    own = F.normalize(centers[labels], dim=1)
    center_loss = ((matrix - own) ** 2).sum(1).mean()
    for b, label in enumerate(labels.tolist()):
        centers[label] += BETA * (matrix[b].detach() - own[b])
    with torch.no_grad():
        numbers, thetas = drawn(step, maps)
        results = [crop(images[b], maps[b, numbers[b, 0]], thetas[0, b]) for b in range(BATCH)]
        cropped, boxes = torch.stack([image for image, _ in results]), torch.tensor([box for _, box in results])
        dropped = torch.stack([drop(images[b], maps[b, numbers[b, 1]], thetas[1, b]) for b in range(BATCH)])
    all_logits = [logits, net(cropped)[0], net(dropped)[0]]
    terms = [F.cross_entropy(z, labels) for z in all_logits] + [center_loss]
    (sum(terms[:3]) / 3 + center_loss).backward()
    return {'logits': all_logits, 'terms': torch.stack(terms).detach(), 'boxes': boxes, 'numbers': numbers, 'thetas': thetas}


def after_first(net, result, centers):
    tensors = {f'logits.{name}': z for name, z in zip(('raw', 'crop', 'drop'), result['logits'])}
    tensors.update({'boxes': result['boxes'], 'centers': centers.clone()})
    named = dict(net.named_parameters())
    tensors.update({f'gradient.{name}': named[name].grad.clone() for name in FULL_GRADIENTS})
    tensors.update({f'running.{n}': b.clone() for n, b in net.named_buffers() if not n.endswith('num_batches_tracked')})
    return tensors


def summary(tensors):
    return {name: [float(value.detach().norm()), projection(value, PROJECTIONS + i)] for i, (name, value) in enumerate(tensors)}


def main():
    torch.set_default_dtype(torch.float64)
    net = fill(Network()).train()
    order = weights_in_order(net)
    images, labels = signed(INPUT, (BATCH, 3, SIZE, SIZE), 2.0), torch.tensor(LABELS)
    centers = torch.zeros(CLASSES, net.fc.in_features)
    optimiser = torch.optim.SGD(net.parameters(), **SGD)
    tensors, kept = {}, {'terms': [], 'numbers': [], 'thetas': []}
    for step in range(STEPS):
        optimiser.zero_grad()
        result = train_step(net, images, labels, centers, step)
        for name, values in kept.items():
            values.append(result[name])
        if step == 0:
            tensors = after_first(net, result, centers)
            gradients = summary((n, p.grad) for n, p in net.named_parameters())
        optimiser.step()
        print(f'step {step + 1}: ' + ' '.join(f'{v:.6f}' for v in result['terms'].tolist()), [b.tolist() for b in result['boxes'][:2]])
    tensors.update({name: torch.stack(values) for name, values in kept.items()})
    tensors['centers.last'] = centers
    metadata = {
        'backbone': BACKBONE, 'size': SIZE, 'batch': BATCH, 'classes': CLASSES, 'maps': MAPS, 'labels': LABELS, 'sgd': SGD,
        'order': order, 'gradients': gradients, 'weights': summary(net.named_parameters()),
    }
    save_safetensors(sys.argv[1], tensors, metadata)


main()
