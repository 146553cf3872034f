"""Numbers that every language makes alike, so that fixtures need no weights: a counter through a 32-bit mixer."""
import json
import struct

import numpy as np
import torch

GOLDEN = 0x9E3779B9
INPUT = 1000


def uniform(tensor, count):
    """`count` numbers in [0, 1) for tensor number `tensor`, as float64."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(GOLDEN * (tensor + 1) % 2**32)) % np.uint64(2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x ^= x >> np.uint64(shift)
        x = x * np.uint64(factor) % np.uint64(2**32)
    return x.astype(np.float64) / 2**32


def signed(tensor, shape, scale=1.0):
    """Uniform in ±scale, rounded to float32 and kept as float64."""
    values = (2 * uniform(tensor, int(np.prod(shape))) - 1) * scale
    return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape)


def fill(module):
    """Weights of two and more dimensions become ±sqrt(6 / fan in), numbered in the order of the state dict."""
    number = 0
    for name, value in module.state_dict().items():
        if value.dim() >= 2:
            value.copy_(signed(number, tuple(value.shape), (6 / value[0].numel()) ** 0.5))
            number += 1
        elif name.endswith(('running_var', 'bn.weight')) or (name.endswith('weight') and value.dim() == 1):
            value.fill_(1)
        else:
            value.zero_()
    return module


def weights_in_order(module):
    return [name for name, value in module.state_dict().items() if value.dim() >= 2]


def projection(tensor, number):
    """Sum of the elements with fixed weights in ±1: one number that every element enters."""
    return float((tensor.detach().flatten() * signed(number, (tensor.numel(),))).sum())


def save_safetensors(path, tensors, metadata):
    """float64 and int64 tensors; metadata maps names to what JSON can hold."""
    header, data = {'__metadata__': {key: json.dumps(value) for key, value in metadata.items()}}, b''
    for name, value in tensors.items():
        array = value.detach().contiguous().numpy()
        dtype = {'float64': 'F64', 'int64': 'I64', 'float32': 'F32'}[str(array.dtype)]
        raw = array.tobytes()
        header[name] = {'dtype': dtype, 'shape': list(array.shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + data)
