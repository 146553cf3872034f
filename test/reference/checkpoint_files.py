#!/usr/bin/python3
"""Small files as torch.save writes them, and what is in them.

Usage:  checkpoint_files.py FOLDER        (committed as test/fixtures/pytorch)

kinds.pth          every number type, shared storages, views, an empty tensor, a parameter
kinds-legacy.pth   the same in the format before PyTorch 1.6
reference.ckpt     entries as WS-DAN.PyTorch's model.ckpt: logs with NumPy objects, state_dict, feature_center
wvinzh.pth.tar     entries as WS_DAN_PyTorch's checkpoints: module. names, optimizer, center; legacy format
evil.pth           asks for os.system
expected.json      the tensors of kinds.pth, as numbers
"""
import json
import os
import pathlib
import sys
from collections import OrderedDict

import numpy as np
import torch


def kinds():
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8 - 1
    tied = torch.tensor([1.5, -2.5, 3.25])
    return OrderedDict([
        ('plain', base.clone()),
        ('transposed', base.clone().permute(2, 0, 1)),
        ('columns', torch.arange(20, dtype=torch.float32).reshape(4, 5)[1:3, 1::2]),
        ('row', base[1, 2]),
        ('tied.a', tied),
        ('tied.b', tied),
        ('scalar', torch.tensor(0.1, dtype=torch.float64)),
        ('empty', torch.zeros(0, 3)),
        ('one.wide', torch.ones(1, 5).t()),
        ('half', torch.tensor([1.0, -2.0, 65504.0, 2.0**-24, float('inf')], dtype=torch.float16)),
        ('brain', torch.tensor([1.0, -3.140625, 2.0**-130], dtype=torch.bfloat16)),
        ('long', torch.tensor([-3, 2**40])),
        ('int', torch.tensor([-3, 7], dtype=torch.int32)),
        ('short', torch.tensor([-300], dtype=torch.int16)),
        ('char', torch.tensor([-128, 127], dtype=torch.int8)),
        ('byte', torch.tensor([0, 255], dtype=torch.uint8)),
        ('flags', torch.tensor([True, False])),
        ('parameter', torch.nn.Parameter(torch.tensor([[0.5, -0.5]]))),
    ])


def reference():
    accuracy = lambda a, b: np.array([a, b])
    return {
        'logs': {
            'epoch': 7, 'lr': 0.001, 'train_loss': np.float64(1.25), 'train_raw_topk_accuracy': accuracy(81.5, 95.25),
            'train_crop_topk_accuracy': accuracy(80.0, 94.0).astype(np.float32), 'train_drop_topk_accuracy': np.asfortranarray([[70.0, 1.0], [90.0, 2.0]]),
            'train_info': 'Loss 1.25, Raw Acc (81.50, 95.25)', 'val_loss': 0.75, 'val_topk_accuracy': accuracy(88.28, 97.5), 'seen': np.int64(12),
        },
        'state_dict': OrderedDict([('fc.weight', torch.arange(6.0).reshape(2, 3)), ('attentions.bn.num_batches_tracked', torch.tensor(5))]),
        'feature_center': torch.full((2, 3), 0.25),
    }


def wvinzh():
    net = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.arange(p.numel(), dtype=torch.float32).reshape(p.shape) + i)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    return {'epoch': 3, 'state_dict': net.state_dict(), 'best_prec1': torch.tensor(88.5), 'optimizer': optimizer.state_dict(), 'center': torch.eye(2)}


class Evil:
    def __reduce__(self):
        return os.system, ('echo harm',)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = kinds()
    torch.save(tensors, folder / 'kinds.pth')
    torch.save(tensors, folder / 'kinds-legacy.pth', _use_new_zipfile_serialization=False)
    torch.save(reference(), folder / 'reference.ckpt')
    torch.save(wvinzh(), folder / 'wvinzh.pth.tar', _use_new_zipfile_serialization=False)
    torch.save({'state_dict': {'fc.weight': torch.ones(2)}, 'extra': Evil()}, folder / 'evil.pth')
    # JSON has no infinity.
    number = lambda x: x if abs(x) != float('inf') else str(x)
    expected = {name: {'shape': list(t.shape), 'values': [number(x) for x in t.detach().double().flatten().tolist()]} for name, t in tensors.items()}
    (folder / 'expected.json').write_text(json.dumps(expected, indent=1) + '\n')


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
