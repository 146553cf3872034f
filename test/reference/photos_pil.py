#!/usr/bin/python3
"""Photograph-like pictures and what PIL's evaluation transform makes of them: writes test/fixtures/photos/ (needs numpy, PIL).

Usage:  photos_pil.py [FOLDER]

The transform is the reference's: resize to int(S / 0.875) squared with PIL's bilinear filter (which antialiases), then the S x S centre.
The pictures have what photographs have: soft shading, texture of all sizes, hard edges, a little noise.
"""
import base64
import json
import os
import sys

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
# Name, width, height, sides S for the PNG and for a JPEG with halved colour resolution, as cameras write it. The second picture is more
# than eight times as large as its smallest result.
PICTURES = (('meadow', 150, 113, (56,), (140,)), ('harbour', 275, 258, (28, 90), ()))


def texture(random, width, height):
    """Sum of smooth noise at all sizes, the smaller the weaker, in about -1 ... 1."""
    total = np.zeros((height, width))
    cells = 3
    while cells < width / 2:
        grid = random.standard_normal((cells, cells)).astype(np.float32)
        layer = np.asarray(Image.fromarray(grid).resize((width, height), Image.BICUBIC))
        total += layer / cells ** 0.8
        cells *= 2
    return total / np.abs(total).max()


def photograph(name, width, height):
    random = np.random.default_rng(sum(map(ord, name)))
    y, x = np.mgrid[0:height, 0:width].astype(float)
    light = 0.55 + 0.3 * (0.6 - y / height) + 0.25 * texture(random, width, height)
    colours = np.stack([light + 0.15 * texture(random, width, height) for _ in range(3)], -1)
    for _ in range(7):
        # Ellipses and bars with hard edges, some dark, some bright.
        cy, cx, ry, rx, slope = random.uniform(0, height), random.uniform(0, width), random.uniform(4, height / 4), random.uniform(4, width / 4), random.uniform(-1, 1)
        inside = ((y - cy + slope * (x - cx)) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        colours[inside] = colours[inside] * 0.3 + random.uniform(0, 0.9, 3)
    colours += random.normal(0, 0.008, colours.shape)
    return Image.fromarray((colours.clip(0, 1) * 255).round().astype(np.uint8))


def evaluated(picture, size):
    side = int(size / 0.875)
    offset = int(round((side - size) / 2.0))
    return picture.resize((side, side), Image.BILINEAR).crop((offset, offset, offset + size, offset + size))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, '..', 'fixtures', 'photos')
    os.makedirs(folder, exist_ok=True)
    cases = []
    for name, width, height, *sizes in PICTURES:
        picture = photograph(name, width, height)
        for ending, options, chosen in zip(('png', 'jpg'), ({'optimize': True}, {'quality': 90, 'subsampling': 2}), sizes):
            if not chosen:
                continue
            path = os.path.join(folder, f'{name}.{ending}')
            picture.save(path, **options)
            for size in chosen:
                rgb = np.asarray(evaluated(Image.open(path).convert('RGB'), size))
                cases.append({'picture': f'{name}.{ending}', 'size': size, 'rgb': base64.b64encode(rgb.tobytes()).decode()})
    with open(os.path.join(folder, 'expected.json'), 'w') as file:
        json.dump({'pil': Image.__version__, 'cases': cases}, file, indent=1)
        file.write('\n')


main()
