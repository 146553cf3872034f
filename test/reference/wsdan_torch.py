#!/usr/bin/python3
"""WS-DAN in PyTorch (arXiv 1901.09891), small and vectorised: the yardstick for Pipit's own training.

Usage:  wsdan_torch.py --train FILE --test FILE [options]     (--help lists them)

FILE names a pair FILE.bin (uint8 RGB pictures, N x S x S x 3, one size) and FILE.json
({"size": S, "meta": [{"label": int, "box": [x0, y0, x1, y1]}, ...]}, boxes half-open in pixels).
--plain trains the same backbone with global average pooling and a linear layer instead.
"""
import argparse
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from pictures import Pictures

# ---------------------------------------------------------------- model


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN plus identity (or a strided 1x1 conv-BN), then ReLU."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = nn.Identity()
        if stride != 1 or cin != cout:
            self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))


def parse_layers(text):
    """'16/2 32/2 64/2' -> [(16, 2), (32, 2), (64, 2)]; the first is the stem, the others are blocks."""
    return [(int(c), int(s)) for c, s in (part.split('/') for part in text.split())]


class Backbone(nn.Sequential):
    def __init__(self, layers, stem_kernel=3):
        (width, stride), *blocks = layers
        stem = nn.Conv2d(3, width, stem_kernel, stride, stem_kernel // 2, bias=False)
        parts = [stem, nn.BatchNorm2d(width), nn.ReLU()]
        for channels, step in blocks:
            parts.append(BasicBlock(width, channels, step))
            width = channels
        super().__init__(*parts)
        self.channels = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')


class Plain(nn.Module):
    """Ordinary classifier with the same backbone."""

    def __init__(self, layers, classes, stem_kernel=3):
        super().__init__()
        self.features = Backbone(layers, stem_kernel)
        self.fc = nn.Linear(self.features.channels, classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def bilinear_attention_pooling(features, maps):
    """(B,C,H,W), (B,M,H,W) -> unit vectors (B, M*C): mean over positions, signed root, L2."""
    pooled = torch.einsum('imjk,injk->imn', maps, features) / (features.shape[2] * features.shape[3])
    vector = pooled.flatten(1)
    vector = vector.sign() * torch.sqrt(vector.abs() + 1e-12)
    return F.normalize(vector, dim=1)


class WSDAN(nn.Module):
    def __init__(self, layers, classes, attentions, stem_kernel=3, scale=100.0, rim=0):
        super().__init__()
        self.features = Backbone(layers, stem_kernel)
        channels = self.features.channels
        self.attention = nn.Conv2d(channels, attentions, 1, bias=False)
        self.attention_bn = nn.BatchNorm2d(attentions, eps=1e-3)
        self.fc = nn.Linear(attentions * channels, classes, bias=False)
        self.scale = scale
        self.rim = rim

    def forward(self, x):
        """-> logits, feature matrix (unit norm), attention maps (B,M,h,w)."""
        features = self.features(x)
        maps = F.relu(self.attention_bn(self.attention(features)))
        if self.rim:
            # Zero padding makes the outermost cells recognisable whatever the picture; without this a map may settle there.
            inner = (slice(None), slice(None), slice(self.rim, -self.rim), slice(self.rim, -self.rim))
            window = torch.zeros_like(maps)
            window[inner] = 1
            maps = maps * window
        matrix = bilinear_attention_pooling(features, maps)
        return self.fc(self.scale * matrix), matrix, maps


def forward_macs(model, size):
    """Multiply-adds of one forward pass, convolutions and linear layers only."""
    total, hooks = [0], []

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            total[0] += module.weight.numel() * output.shape[2] * output.shape[3]
        else:
            total[0] += module.weight.numel()

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            hooks.append(module.register_forward_hook(count))
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total[0]


# ---------------------------------------------------------------- attention-guided augmentation


def draw_two_maps(maps):
    """Per picture two map indices, drawn with replacement, weight sqrt(sum of the map) -> (B,2,h,w)."""
    weights = torch.sqrt(maps.flatten(2).sum(2) + 1e-12)
    chosen = torch.multinomial(weights, 2, replacement=True)
    return maps[torch.arange(len(maps))[:, None], chosen]


def upsample(maps, size):
    """(B,h,w) -> (B,size,size), bilinear with aligned corners."""
    return F.interpolate(maps[:, None], (size, size), mode='bilinear', align_corners=True)[:, 0]


def boxes_of(maps, size, theta, padding):
    """Bounding boxes of {map >= theta * max}, enlarged by padding*size: (B,4) y0,y1,x0,x1, half-open.

    `theta` is a number or one per picture. A map without a hot pixel gives the whole picture.
    """
    theta = torch.as_tensor(theta, dtype=torch.float32).expand(len(maps)).view(-1, 1, 1)
    mask = upsample(maps, size) >= theta * maps.flatten(1).max(1)[0].view(-1, 1, 1)
    edges = []
    for axis in (2, 1):
        hot = mask.any(axis).float()
        first = hot.argmax(1)
        last = size - 1 - hot.flip(1).argmax(1)
        edges += [(first - padding * size).trunc().clamp(min=0), (last + padding * size).trunc().clamp(max=size)]
    boxes = torch.stack(edges, 1).float()
    empty = ~mask.flatten(1).any(1)
    boxes[empty] = torch.tensor([0.0, size, 0.0, size])
    return boxes


def crop(images, boxes):
    """Each box (rows y0..y1-1) enlarged to the full picture, bilinear with aligned corners."""
    size = images.shape[2]
    steps = torch.linspace(0, 1, size)
    ys = boxes[:, :1] + (boxes[:, 1:2] - 1 - boxes[:, :1]) * steps
    xs = boxes[:, 2:3] + (boxes[:, 3:4] - 1 - boxes[:, 2:3]) * steps
    grid = torch.stack([xs[:, None, :].expand(-1, size, -1), ys[:, :, None].expand(-1, -1, size)], 3)
    return F.grid_sample(images, grid / (size - 1) * 2 - 1, mode='bilinear', align_corners=True)


def drop(images, maps, theta):
    """Pixels where the map reaches theta * max become 0, the mean colour."""
    keep = upsample(maps, images.shape[2]) < theta.view(-1, 1, 1) * maps.flatten(1).max(1)[0].view(-1, 1, 1)
    return images * keep[:, None]


# ---------------------------------------------------------------- training and evaluation


def train_step(model, images, labels, centers, rng, opts):
    """One WS-DAN step up to the gradients: (loss, [logits of raw, crop, drop])."""
    logits, matrix, maps = model(images)
    own = F.normalize(centers[labels], dim=1)
    centers.index_add_(0, labels, opts.beta * (matrix.detach() - own))
    center_loss = ((matrix - own) ** 2).sum(1).mean()
    with torch.no_grad():
        two = draw_two_maps(maps.detach())
        theta = torch.tensor(rng.uniform(0, 1, (2, len(images))), dtype=torch.float32)
        crop_theta = opts.crop_theta[0] + theta[0] * (opts.crop_theta[1] - opts.crop_theta[0])
        drop_theta = opts.drop_theta[0] + theta[1] * (opts.drop_theta[1] - opts.drop_theta[0])
        cropped = crop(images, boxes_of(two[:, 0], images.shape[2], crop_theta, opts.crop_padding))
        dropped = drop(images, two[:, 1], drop_theta)
    smooth = opts.smoothing
    crop_logits, drop_logits = model(cropped)[0], model(dropped)[0]
    parts = [F.cross_entropy(z, labels, label_smoothing=smooth) for z in (logits, crop_logits, drop_logits)]
    loss = sum(parts) / 3 + opts.center_weight * center_loss
    loss.backward()
    return loss.item(), [logits, crop_logits, drop_logits]


def iou(a, b):
    """Boxes (N,4) y0,y1,x0,x1 against boxes (N,4) x0,y0,x1,y1."""
    h = (torch.min(a[:, 1], b[:, 3]) - torch.max(a[:, 0], b[:, 1])).clamp(min=0)
    w = (torch.min(a[:, 3], b[:, 2]) - torch.max(a[:, 2], b[:, 0])).clamp(min=0)
    both = h * w
    return both / ((a[:, 1] - a[:, 0]) * (a[:, 3] - a[:, 2]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) - both)


@torch.no_grad()
def evaluate(model, data, opts, thetas):
    """{(theta, padding): dict(raw, crop, refined, iou, corloc)} in percent; a plain model gives {'raw': x}."""
    model.eval()
    tally = {}
    plain = 0.0
    for start in range(0, len(data), 100):
        index = torch.arange(start, min(start + 100, len(data)))
        images, labels, truth = data.test_batch(index), data.labels[index], data.boxes[index]
        if opts.plain:
            plain += (model(images).argmax(1) == labels).sum().item()
            continue
        logits, _, maps = model(images)
        coarse, mean = logits.softmax(1), maps.mean(1)
        for theta, padding in thetas:
            boxes = boxes_of(mean, data.size, theta, padding)
            fine = model(crop(images, boxes))[0].softmax(1)
            overlap = iou(boxes, truth)
            row = torch.stack([(coarse.argmax(1) == labels).float().sum(), (fine.argmax(1) == labels).float().sum(),
                               ((coarse + fine).argmax(1) == labels).float().sum(), overlap.sum(), (overlap >= 0.5).float().sum()])
            tally[theta, padding] = tally.get((theta, padding), 0) + row
    if opts.plain:
        return {'raw': 100 * plain / len(data)}
    names = ('raw', 'crop', 'refined', 'iou', 'corloc')
    return {key: dict(zip(names, (100 * row / len(data)).tolist())) for key, row in tally.items()}


def learning_rate(epoch, progress, opts):
    """StepLR (gamma every step_size epochs), or cosine, after a linear warm-up over `warmup` epochs."""
    done = epoch + progress
    if done < opts.warmup:
        return opts.lr * (done + 0.02) / opts.warmup
    if opts.cosine:
        return opts.lr * 0.5 * (1 + np.cos(np.pi * done / opts.epochs))
    return opts.lr * opts.gamma ** (epoch // opts.step_size)


def load_matching(model, path):
    """Starts from a saved model: every tensor whose name and shape agree, the classifier excepted.

    Residual blocks that the file does not know begin as the identity (their last scale is 0).
    """
    saved = {k: v for k, v in torch.load(path).items() if not k.startswith('fc')}
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in saved.items() if k in own and own[k].shape == v.shape}, strict=False)
    for name, module in model.named_modules():
        if isinstance(module, BasicBlock) and name + '.bn2.weight' not in saved:
            nn.init.zeros_(module.bn2.weight)


def report(epoch, lr, loss, seen, scores, seconds, opts):
    line = f'ep {epoch + 1:3d} lr {lr:.4f} loss {loss:.3f} train ' + '/'.join(f'{100 * s:.1f}' for s in seen)
    if 'raw' in scores:
        print(f'{line} | raw {scores["raw"]:.1f} | {seconds:.0f}s', flush=True)
        return
    for number, (key, s) in enumerate(scores.items()):
        head = line if number == 0 else ' ' * len(line)
        print(f'{head} | th {key} raw {s["raw"]:.1f} crop {s["crop"]:.1f} refined {s["refined"]:.1f} iou {s["iou"]:.1f} corloc {s["corloc"]:.1f} | {seconds:.0f}s', flush=True)


def train(opts):
    torch.manual_seed(opts.seed)
    rng = np.random.default_rng(opts.seed)
    data = Pictures(opts.train, opts.size, opts.limit, opts.grow if opts.resized_crop >= 1 else 1)
    test = Pictures(opts.test, opts.size)
    layers = parse_layers(opts.layers)
    model = Plain(layers, data.classes, opts.stem_kernel) if opts.plain else WSDAN(layers, data.classes, opts.attentions, opts.stem_kernel, opts.scale, opts.rim)
    if opts.init:
        load_matching(model, opts.init)
    macs = forward_macs(model, opts.size)
    steps = len(data) // opts.batch
    passes = 3 if opts.plain else 9
    print(f'{len(data)} train, {len(test)} test, forward {macs / 1e6:.2f} MMAC, {steps * opts.epochs} steps, '
          f'{passes * 2 * macs * steps * opts.batch * opts.epochs / 1e12:.2f} TFLOP of training', flush=True)
    print(vars(opts), flush=True)
    if opts.adamw:
        optimiser = torch.optim.AdamW(model.parameters(), lr=opts.lr, weight_decay=opts.wd)
    else:
        optimiser = torch.optim.SGD(model.parameters(), lr=opts.lr, momentum=0.9, weight_decay=opts.wd, nesterov=opts.nesterov)
    centers = None if opts.plain else torch.zeros(data.classes, model.fc.in_features)
    begin = time.time()
    for epoch in range(opts.epochs):
        model.train()
        order = torch.from_numpy(rng.permutation(len(data)))
        total, hits = 0.0, torch.zeros(1 if opts.plain else 3)
        for step in range(steps):
            index = order[step * opts.batch:(step + 1) * opts.batch]
            for group in optimiser.param_groups:
                group['lr'] = learning_rate(epoch, step / steps, opts)
            images, labels = data.train_batch(index, rng, opts), data.labels[index]
            optimiser.zero_grad()
            if opts.plain:
                logits = [model(images)]
                loss = F.cross_entropy(logits[0], labels, label_smoothing=opts.smoothing)
                loss.backward()
                loss = loss.item()
            else:
                loss, logits = train_step(model, images, labels, centers, rng, opts)
            optimiser.step()
            total += loss
            hits += torch.tensor([(z.argmax(1) == labels).float().sum() for z in logits])
        if (epoch + 1) % opts.eval_every == 0 or epoch + 1 == opts.epochs:
            last = epoch + 1 == opts.epochs
            scores = evaluate(model, test, opts, opts.thetas if last else opts.thetas[:1])
            report(epoch, optimiser.param_groups[0]['lr'], total / steps, (hits / (steps * opts.batch)).tolist(), scores, time.time() - begin, opts)
    if opts.save:
        torch.save(model.state_dict(), opts.save)


def options():
    pair = lambda text: tuple(float(v) for v in text.split(','))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--train', required=True)
    p.add_argument('--test', required=True)
    p.add_argument('--limit', type=int, help='use only the first N training pictures')
    p.add_argument('--plain', action='store_true')
    p.add_argument('--init', help='start from this saved model')
    p.add_argument('--layers', default='16/2 32/2 64/2', help='channels/stride of the stem and of each block')
    p.add_argument('--stem-kernel', type=int, default=3)
    p.add_argument('--attentions', type=int, default=16)
    p.add_argument('--scale', type=float, default=100.0, help='factor on the feature matrix before the classifier')
    p.add_argument('--rim', type=int, default=0, help='outermost cells of the attention maps that are set to 0')
    p.add_argument('--size', type=int, default=64)
    p.add_argument('--batch', type=int, default=16)
    p.add_argument('--epochs', type=int, default=20)
    p.add_argument('--lr', type=float, default=0.02)
    p.add_argument('--wd', type=float, default=1e-5)
    p.add_argument('--nesterov', action='store_true')
    p.add_argument('--adamw', action='store_true')
    p.add_argument('--gamma', type=float, default=0.9)
    p.add_argument('--step-size', type=int, default=2)
    p.add_argument('--cosine', action='store_true')
    p.add_argument('--warmup', type=float, default=0, help='epochs of linear warm-up')
    p.add_argument('--beta', type=float, default=0.05)
    p.add_argument('--center-weight', type=float, default=1.0)
    p.add_argument('--smoothing', type=float, default=0.0)
    p.add_argument('--crop-theta', type=pair, default=(0.4, 0.6))
    p.add_argument('--drop-theta', type=pair, default=(0.2, 0.5))
    p.add_argument('--crop-padding', type=float, default=0.1)
    p.add_argument('--thetas', default='0.1,0.05 0.3,0.05 0.3,0 0.4,0.05 0.5,0.05')
    p.add_argument('--brightness', type=float, default=0.126)
    p.add_argument('--saturation', type=float, default=0.5)
    p.add_argument('--contrast', type=float, default=0.0)
    p.add_argument('--grey', type=float, default=0.0)
    p.add_argument('--resized-crop', type=float, default=1.0, help='smallest area of a random resized crop')
    p.add_argument('--grow', type=float, default=1.0, help='extra enlargement of training pictures before the crop')
    p.add_argument('--eval-every', type=int, default=1)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--save')
    opts = p.parse_args()
    opts.thetas = [pair(t) for t in opts.thetas.split()]
    return opts


if __name__ == '__main__':
    chosen = options()
    torch.set_num_threads(chosen.threads)
    train(chosen)
