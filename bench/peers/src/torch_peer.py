"""PyTorch on the CPU behind the protocol of host.mjs: JSON lines on stdin, answers on file descriptor 3.

Usage:  torch_peer.py THREADS
"""
import json
import os
import pathlib
import re
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / 'test' / 'reference'))
import wsdan_torch  # noqa: E402 (the project's own PyTorch statement of WS-DAN)

EINSUM = 'imjk,injk->imn'


def conv(row, t):
    stride, pad = [row['attrs']['stride']] * 2, row['attrs']['pad']
    if 'y' in row['outputs']:
        return lambda: {'y': F.conv2d(t['x'], t['w'], stride=stride, padding=pad)}
    wanted = 'dx' in row['outputs']
    x = t['x'] if 'x' in t else torch.zeros(row['outputs']['dx'])
    w = t['w'] if 'w' in t else torch.zeros(row['outputs']['dw'])

    def gradient():
        both = torch.ops.aten.convolution_backward(t['dy'], x, w, None, stride, pad, [1, 1], False, [0, 0], 1, [wanted, not wanted, False])
        return {'dx': both[0]} if wanted else {'dw': both[1]}
    return gradient


def attention_pool(row, t):
    if 'y' in row['outputs']:
        return lambda: {'y': torch.einsum(EINSUM, t['a'], t['b'])}
    return lambda: {'da': torch.einsum('imn,injk->imjk', t['dy'], t['b']), 'db': torch.einsum('imn,imjk->injk', t['dy'], t['a'])}


def resize(row, t):
    size = row['attrs']['size']
    if 'y' in row['outputs']:
        return lambda: {'y': F.interpolate(t['x'], size=size, mode='bilinear', align_corners=True)}
    return lambda: {'dx': torch.ops.aten.upsample_bilinear2d_backward(t['dy'], size, row['outputs']['dx'], True, None, None)}


def differentiate(row, t, names, forward):
    """The forward, or all gradients of `names` through autograd."""
    if 'y' in row['outputs']:
        return lambda: {'y': forward()}

    def gradients():
        leaves = [t[name].requires_grad_() for name in names]
        return {'d' + name: g for name, g in zip(names, torch.autograd.grad(forward(), leaves, t['dy']))}
    return gradients


def batch_norm(row, t):
    return differentiate(row, t, ['x', 'gamma', 'beta'], lambda: F.batch_norm(t['x'], None, None, t['gamma'], t['beta'], True, 0.0, row['attrs']['eps']))


def max_pool(row, t):
    return differentiate(row, t, ['x'], lambda: F.max_pool2d(t['x'], row['attrs']['kernel'], row['attrs']['stride']))


OPERATIONS = {
    'conv': conv, 'matmul': lambda _, t: lambda: {'y': t['a'] @ t['b']}, 'attentionPool': attention_pool, 'resize': resize,
    'batchNorm': batch_norm, 'maxPool': max_pool,
}


class Operation:
    def __init__(self, row, t):
        self.compute = OPERATIONS[row['op']](row, t)

    def launch(self):
        self.last = self.compute()

    def outputs(self):
        return self.last


def through(net, x, p, eps):
    for part in net:
        kind, name = part['layer'], part.get('name')
        if kind == 'conv':
            x = F.conv2d(x, p[name + '.weight'], stride=part['stride'], padding=part['pad'])
        elif kind == 'norm':
            x = F.batch_norm(x, None, None, p[name + '.gamma'], p[name + '.beta'], True, 0.0, eps)
            x = F.relu(x) if part['relu'] else x
        elif kind == 'maxPool':
            x = F.max_pool2d(x, part['size'], part['stride'], part['pad'])
        elif kind == 'residual':
            x = F.relu(through(part['main'], x, p, eps) + through(part['around'], x, p, eps))
        else:
            x = x.mean((2, 3)) @ p[name + '.weight'] + p[name + '.bias']
    return x


class TrainStep:
    def __init__(self, row, t):
        self.attrs, self.x, self.labels = row['attrs'], t.pop('x'), t.pop('labels').long()
        self.p = {name: value.requires_grad_() for name, value in t.items()}
        self.optimizer = torch.optim.SGD(self.p.values(), lr=self.attrs['lr'], momentum=self.attrs['momentum'])
        self.count, self.losses = row['outputs']['losses'][0], []

    def launch(self):
        loss = F.cross_entropy(through(self.attrs['net'], self.x, self.p, self.attrs['eps']), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.losses = (self.losses + [loss.detach()])[:self.count]

    def outputs(self):
        return {'losses': torch.stack(self.losses)}


def pipit_name(name):
    """Name of a parameter of wsdan_torch.WSDAN in the rows."""
    name = re.sub(r'^features\.0\.', 'features.conv1.', name)
    name = re.sub(r'^features\.(\d)\.', lambda m: f'features.layer{int(m.group(1)) - 2}.0.', name)
    return name.replace('.short.', '.downsample.').replace('attention.', 'attentions.conv.')


class WsdanStep:
    def __init__(self, row, t):
        a = row['attrs']
        self.model = wsdan_torch.WSDAN(wsdan_torch.parse_layers('16/2 32/2 64/2'), a['classes'], a['attentions'], scale=a['scale'], rim=a['rim']).train()
        for name, parameter in self.model.named_parameters():
            if parameter.dim() >= 2:
                parameter.data.copy_(t[pipit_name(name)])
        self.x, self.labels = t['x'], t['labels'].long()
        self.centers = torch.zeros(a['classes'], self.model.fc.in_features)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=a['lr'], weight_decay=a['weightDecay'])
        self.options = SimpleNamespace(
            beta=a['beta'], crop_theta=a['cropTheta'], drop_theta=a['dropTheta'], crop_padding=a['cropPadding'], center_weight=a['centerWeight'], smoothing=0.0)
        self.rng, self.raw_loss = np.random.default_rng(0), None

    def launch(self):
        self.optimizer.zero_grad(set_to_none=True)
        _, logits = wsdan_torch.train_step(self.model, self.x, self.labels, self.centers, self.rng, self.options)
        self.optimizer.step()
        if self.raw_loss is None:
            self.raw_loss = F.cross_entropy(logits[0].detach(), self.labels).reshape(1)

    def outputs(self):
        return {'rawLoss': self.raw_loss}


KINDS = {'trainStep': TrainStep, 'wsdanStep': WsdanStep}


class Host:
    work = None

    def open(self, _):
        return {'version': torch.__version__, 'threads': torch.get_num_threads(), 'kernels': 'oneDNN' if torch.backends.mkldnn.is_available() else 'no oneDNN'}

    def prepare(self, request):
        row, t = request['row'], {}
        for name, shape in row['inputs'].items():
            t[name] = torch.from_numpy(np.fromfile(os.path.join(request['folder'], name), dtype=np.float32).reshape(shape))
        self.work = KINDS.get(row['op'], Operation)(row, t)
        return {}

    def run(self, request):
        repeats = request['repeats']
        start, used = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            self.work.launch()
        return {'ms': (time.perf_counter() - start) * 1e3 / repeats, 'cpuMs': (time.process_time() - used) * 1e3 / repeats}

    def outputs(self, request):
        outputs = self.work.outputs()
        for name, value in outputs.items():
            value.detach().float().contiguous().numpy().tofile(os.path.join(request['folder'], name))
        return {'shapes': {name: list(value.shape) for name, value in outputs.items()}}

    def release(self, _):
        self.work = None
        return {}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    host, answers = Host(), os.fdopen(3, 'w')
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {'ok': True, **getattr(host, request['command'])(request)}
        except Exception as error:  # whatever it is, the harness says it
            answer = {'ok': False, 'error': f'{type(error).__name__}: {error}'.split('\n')[0]}
        answers.write(json.dumps(answer) + '\n')
        answers.flush()


main()
