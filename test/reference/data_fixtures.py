"""Writes the fixtures of the data tests: python3 test/reference/data_fixtures.py (needs numpy, PIL, scipy).

  test/fixtures/pil-resize.json   PIL's resize + crop + flip + jitter of a small picture
  test/fixtures/images/*          pictures of unusual kinds, with PIL's decoding in expected.json
  test/fixtures/mat/*             MATLAB v5 files in the layouts of Stanford Cars and Stanford Dogs
"""
import base64
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.io import savemat

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, '..', 'fixtures')


def text(array):
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.uint8).tobytes()).decode()


def resize_fixture():
    pixels = np.random.RandomState(7).randint(0, 256, (17, 23, 3)).astype(np.uint8)
    source = Image.fromarray(pixels)
    cases = []
    jitter = {
        'brightness': ImageEnhance.Brightness,
        'contrast': ImageEnhance.Contrast,
        'saturation': ImageEnhance.Color,
    }
    for size, ox, oy, flip, steps in [
        (8, 1, 0, False, []),
        (21, 2, 3, True, []),
        (6, 0, 0, False, [('brightness', 1.12), ('saturation', 0.6)]),
        (9, 1, 1, True, [('contrast', 1.3), ('saturation', 1.4), ('brightness', 0.88)]),
    ]:
        side = int(size / 0.875)
        image = source.resize((side, side), Image.BILINEAR).crop((ox, oy, ox + size, oy + size))
        if flip:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        for name, factor in steps:
            image = jitter[name](image).enhance(factor)
        cases.append({'size': size, 'side': side, 'ox': ox, 'oy': oy, 'flip': flip, 'steps': steps, 'rgb': text(np.asarray(image))})
    with open(os.path.join(OUT, 'pil-resize.json'), 'w') as file:
        json.dump({'pil': Image.__version__, 'width': 23, 'height': 17, 'rgb': text(pixels), 'cases': cases}, file, indent=1)


def png16(pixels):
    """RGB PNG with 16 bits a channel, which PIL cannot write."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels.astype(np.uint16) * 257)
    head = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


def image_fixtures():
    y, x = np.mgrid[0:16, 0:24]
    pixels = np.stack([x * 10, y * 15, (x + y) * 6], -1).astype(np.uint8)
    image = Image.fromarray(pixels)
    folder = os.path.join(OUT, 'images')
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert('CMYK').save(os.path.join(folder, 'cmyk.jpg'), quality=95)
    image.convert('L').save(os.path.join(folder, 'grey.jpg'), quality=95)
    image.save(os.path.join(folder, 'progressive.jpg'), quality=95, progressive=True, subsampling=0)
    image.save(os.path.join(folder, 'rotated.jpg'), quality=95, subsampling=0, exif=exif)
    image.convert('P').save(os.path.join(folder, 'palette.gif'))
    image.save(os.path.join(folder, 'plain.bmp'))
    image.save(os.path.join(folder, 'lzw.tif'), compression='tiff_lzw')
    inks = Image.fromarray(np.dstack([pixels, (255 - y * 15).astype(np.uint8)]), 'CMYK')
    inks.save(os.path.join(folder, 'cmyk.tif'))
    inks.save(os.path.join(folder, 'cmyk-lzw.tif'), compression='tiff_lzw')
    image.save(os.path.join(folder, 'rotated.tif'), tiffinfo={274: 8})
    exif[0x0112] = 7
    image.save(os.path.join(folder, 'rotated.png'), exif=exif)
    Image.fromarray(np.dstack([pixels, (x * 10).astype(np.uint8)])).save(os.path.join(folder, 'alpha.png'))
    image.convert('LA').save(os.path.join(folder, 'grey-alpha.png'))
    expected = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith(('.json', '16.png')):
            image = Image.open(os.path.join(folder, name))
            # PIL turns TIFF upright itself when it loads the pixels, and (9.4) leaves the tag as it was.
            upright = (image if name.endswith('.tif') else ImageOps.exif_transpose(image)).convert('RGB')
            expected[name] = {'width': upright.width, 'height': upright.height, 'rgb': text(np.asarray(upright))}
    with open(os.path.join(folder, 'rgb16.png'), 'wb') as file:
        file.write(png16(pixels))
    Image.fromarray((pixels[..., 0].astype(np.uint16) * 257)).save(os.path.join(folder, 'grey16.png'))
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    expected['rgb16.png'] = {'width': 24, 'height': 16, 'rgb': text(pixels)}
    expected['grey16.png'] = {'width': 24, 'height': 16, 'rgb': text(grey)}
    with open(os.path.join(folder, 'expected.json'), 'w') as file:
        json.dump(expected, file, indent=1)


def structs(rows, names):
    array = np.zeros((1, len(rows)), dtype=[(name, object) for name in names])
    for i, row in enumerate(rows):
        for name, value in zip(names, row):
            array[0, i][name] = value if isinstance(value, str) else np.array([[value]], dtype=np.uint16)
    return array


def cells(values, column=True):
    array = np.empty((len(values), 1) if column else (1, len(values)), dtype=object)
    for i, value in enumerate(values):
        array.flat[i] = value
    return array


def mat_fixtures():
    folder = os.path.join(OUT, 'mat')
    save = lambda name, data, packed=True: savemat(os.path.join(folder, name), data, do_compression=packed)
    box = ['bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2']
    classes = cells(['AM General Hummer SUV 2000', 'Acura RL Sedan 2012'], column=False)
    save('cars_train_annos.mat', {'annotations': structs([(3, 2, 22, 14, 2, '00001.jpg'), (1, 1, 24, 16, 1, '00002.jpg'), (5, 4, 20, 10, 2, '00003.jpg')], box + ['class', 'fname'])})
    save('cars_test_annos_withlabels.mat', {'annotations': structs([(2, 3, 300, 15, 1, '00001.jpg'), (1, 1, 9, 9, 2, '00002.jpg')], box + ['class', 'fname'])}, packed=False)
    save('cars_meta.mat', {'class_names': classes})
    save('cars_annos.mat', {
        'annotations': structs([('car_ims/000001.jpg', 3, 2, 22, 14, 2, 0), ('car_ims/000002.jpg', 1, 1, 24, 16, 1, 0), ('car_ims/000003.jpg', 5, 4, 20, 10, 2, 1)],
                               ['relative_im_path'] + box + ['class', 'test']),
        'class_names': classes,
    })
    for part, numbers in (('train', (1, 2)), ('test', (3,))):
        files = [f'{dog}/{dog.split("-")[0]}_{n}.jpg' for dog in ('n02085620-Chihuahua', 'n02086646-Blenheim_spaniel') for n in numbers]
        labels = [[1 if 'Chihuahua' in f else 2] for f in files]
        save(f'{part}_list.mat', {'file_list': cells(files), 'annotation_list': cells([f[:-4] for f in files]), 'labels': np.array(labels, dtype=np.uint8)})


resize_fixture()
image_fixtures()
mat_fixtures()
