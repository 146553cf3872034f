#!/usr/bin/python3
"""Records a PyTorch network layer by layer, for `node dist/parity.js`.

From a program that has its network at hand:

    from parity_fixture import record, save_weights
    record(net, images, 'fixture.safetensors', network='wsdan', model='inception_mixed_6e', classes=200, train=False)
    save_weights(net, 'weights.safetensors')

`network` is 'wsdan' (the network returns logits first) or 'backbone' (it returns a feature map); `model` is Pipit's name of the backbone,
`wsdan` may hold Pipit's options by name, such as {'attentions': 16, 'scale': 10}. Names of modules are Pipit's, which are torchvision's, or
those of WS-DAN.PyTorch.

As a command it takes a backbone of torchvision with weights from a file, or fresh ones, and an image of noise:

    parity_fixture.py resnet18 OUTPUT [--weights FILE.pth] [--size 128] [--batch 2] [--train]     writes OUTPUT.fixture and OUTPUT.weights

The fixture holds `input` [N, 3, H, W], `seed` (the gradient put in at the network's first output), and by name `output:MODULE`,
`gradient:MODULE` (with respect to that output) and `parameter:NAME` (gradients), all in float32, of which any may be absent.
"""
import argparse

import torch
import torch.nn as nn

from portable import save_safetensors


def single(output):
    return output[0] if isinstance(output, (tuple, list)) else output


def watch(net, outputs, gradients):
    """Hooks on every module that is called once: what it returns, and the gradient with respect to that."""
    handles = []

    def look(name):
        def hook(_module, _inputs, output):
            if not isinstance(output, torch.Tensor) or name in outputs:
                return None
            outputs[name] = output.detach().clone()
            output.register_hook(lambda grad: gradients.__setitem__(name, grad.detach().clone()))
            # A copy goes on, so that a ReLU in place cannot change what was recorded.
            return output.clone()
        return hook

    for name, module in net.named_modules():
        if name and not isinstance(module, (nn.ReLU, nn.Identity)):
            handles.append(module.register_forward_hook(look(name)))
    return handles


def record(net, images, path, network, model, classes=0, train=False, wsdan=None, parameters=lambda name: True, **more):
    """Runs the network forward and backward once and writes the fixture; `more` goes into its metadata."""
    net.train(train)
    net.zero_grad()
    outputs, gradients = {}, {}
    handles = watch(net, outputs, gradients)
    result = single(net(images))
    generator = torch.Generator().manual_seed(0)
    seed = torch.rand(result.shape, generator=generator, dtype=result.dtype) * 2 - 1
    result.backward(seed)
    for handle in handles:
        handle.remove()
    tensors = {'input': images, 'seed': seed}
    tensors.update({f'output:{name}': value for name, value in outputs.items()})
    tensors.update({f'gradient:{name}': value for name, value in gradients.items()})
    tensors.update({f'parameter:{name}': p.grad for name, p in net.named_parameters() if p.grad is not None and parameters(name)})
    description = {'network': network, 'model': model, 'classes': classes, 'train': train, 'wsdan': wsdan or {}}
    save_safetensors(path, {name: value.detach().float() for name, value in tensors.items()}, {'parity': description, **more})


def save_weights(net, path):
    save_safetensors(path, {name: value.float() for name, value in net.state_dict().items() if not name.endswith('num_batches_tracked')}, {})


def main():
    from wsdan_reference import trunk
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('output')
    parser.add_argument('--weights')
    parser.add_argument('--size', type=int, default=128)
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--train', action='store_true')
    options = parser.parse_args()
    torch.manual_seed(0)
    net = trunk(options.model)
    if options.weights:
        saved = torch.load(options.weights, map_location='cpu')
        print(net.load_state_dict({name: value for name, value in saved.items() if name in net.state_dict()}, strict=True))
    save_weights(net, f'{options.output}.weights')
    record(net, torch.randn(options.batch, 3, options.size, options.size), f'{options.output}.fixture', 'backbone', options.model, train=options.train)


if __name__ == '__main__':
    main()
