#!/usr/bin/python3
"""Opens a file with torch.load and prints what is in it.

Usage:  open_checkpoint.py FILE [--weights-only]        (JSON on standard output)
"""
import json
import sys

import torch


def describe(value):
    if isinstance(value, torch.Tensor):
        return {'dtype': str(value.dtype), 'shape': list(value.shape), 'values': value.double().flatten().tolist(), 'contiguous': value.is_contiguous()}
    if isinstance(value, dict):
        return {'type': type(value).__name__, 'items': {key: describe(item) for key, item in value.items()}}
    return value


if __name__ == '__main__':
    json.dump(describe(torch.load(sys.argv[1], weights_only='--weights-only' in sys.argv)), sys.stdout)
