"""Pictures for wsdan_torch.py: antialiased resize, random crop, mirror, colour jitter, normalisation."""
import json

import numpy as np
import torch
import torch.nn.functional as F

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def shrink_matrix(source, target):
    """(target, source) weights of an antialiased triangle filter, as PIL's BILINEAR."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    return torch.tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32)


class Pictures:
    """Pictures resized to size/0.875, kept as bytes; batches are cropped, mirrored, jittered and normalised."""

    def __init__(self, path, size, limit=None, grow=1.0):
        info = json.load(open(path + '.json'))
        source = info['size']
        raw = np.memmap(path + '.bin', np.uint8, 'r').reshape(-1, source, source, 3)[:limit]
        meta = info['meta'][:limit]
        self.size, self.wide = size, int(size / 0.875 * grow)
        weights = shrink_matrix(source, self.wide)
        parts = []
        for start in range(0, len(raw), 64):
            block = torch.from_numpy(np.array(raw[start:start + 64])).permute(0, 3, 1, 2).float()
            block = weights @ block @ weights.t()
            parts.append(block.round().clamp(0, 255).to(torch.uint8))
        self.images = torch.cat(parts)
        self.labels = torch.tensor([m['label'] for m in meta])
        boxes = torch.tensor([m['box'] for m in meta], dtype=torch.float32)
        self.offset = (self.wide - size) // 2
        self.boxes = (boxes * self.wide / source - self.offset).clamp(0, size)
        self.classes = int(self.labels.max()) + 1

    def __len__(self):
        return len(self.labels)

    def test_batch(self, index):
        o, s = self.offset, self.size
        return (self.images[index, :, o:o + s, o:o + s].float() / 255 - MEAN) / STD

    def train_batch(self, index, rng, opts):
        size, room = self.size, self.wide - self.size
        out = torch.empty(len(index), 3, size, size)
        for i, j in enumerate(index.tolist()):
            y, x = rng.integers(0, room + 1, 2)
            picture = self.images[j, :, y:y + size, x:x + size]
            out[i] = picture.flip(2) if rng.random() < 0.5 else picture
        out /= 255
        if opts.resized_crop < 1:
            out = self.zoom(index, rng, opts.resized_crop)
        out = jitter(out, rng, opts)
        return (out - MEAN) / STD

    def zoom(self, index, rng, smallest):
        """Random resized crop, aspect 3/4..4/3, area smallest..1, mirrored half of the time."""
        n = len(index)
        area = rng.uniform(smallest, 1, n)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
        w = np.minimum(np.sqrt(area * aspect), 1) * self.wide
        h = np.minimum(np.sqrt(area / aspect), 1) * self.wide
        y0, x0 = rng.random(n) * (self.wide - h), rng.random(n) * (self.wide - w)
        steps = (np.arange(self.size) + 0.5) / self.size
        ys = (y0[:, None] + h[:, None] * steps) / self.wide * 2 - 1
        xs = (x0[:, None] + w[:, None] * steps) / self.wide * 2 - 1
        xs = np.where(rng.random(n)[:, None] < 0.5, xs[:, ::-1], xs)
        ys, xs = torch.tensor(ys, dtype=torch.float32), torch.tensor(xs, dtype=torch.float32)
        grid = torch.stack([xs[:, None, :].expand(-1, self.size, -1), ys[:, :, None].expand(-1, -1, self.size)], 3)
        return F.grid_sample(self.images[index].float() / 255, grid, mode='bilinear', align_corners=False, padding_mode='border')


def jitter(images, rng, opts):
    """Brightness and saturation factors (and contrast, grey, when asked for), clipped to 0..1."""
    def factor(amount):
        return torch.tensor(rng.uniform(1 - amount, 1 + amount, (len(images), 1, 1, 1)), dtype=torch.float32)

    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    images = (images * factor(opts.brightness)).clamp(0, 1)
    if opts.contrast:
        mean = (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = (mean + (images - mean) * factor(opts.contrast)).clamp(0, 1)
    grey = (images * luma).sum(1, keepdim=True)
    images = (grey + (images - grey) * factor(opts.saturation)).clamp(0, 1)
    if opts.grey:
        to_grey = torch.tensor(rng.random((len(images), 1, 1, 1)) < opts.grey)
        images = torch.where(to_grey, (images * luma).sum(1, keepdim=True).expand_as(images), images)
    return images
