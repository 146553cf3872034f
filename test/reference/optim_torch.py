#!/usr/bin/python3
"""Trajectories of torch.optim, five steps each: writes test/fixtures/optim-torch.safetensors.

Usage:  optim_torch.py OUTPUT

Tensors: start [2, 5], gradient.N (N = 0..4), and NAME.N, the parameter after step N, for each optimiser NAME.
For parameter groups, which a StepLR scales: groups.start.K, groups.gradient.N.K of parameter K, and groups_NAME.N.K.
The gradients are given, not computed, so that nothing but the update rule is compared.
"""
import json
import struct
import sys

import torch

LR = [0.1, 0.1, 0.05, 0.05, 0.02]
OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=LR[0]),
    "sgd_decay": lambda p: torch.optim.SGD(p, lr=LR[0], weight_decay=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=LR[0], momentum=0.9, weight_decay=0.01),
    "dampening": lambda p: torch.optim.SGD(p, lr=LR[0], momentum=0.8, dampening=0.3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=LR[0], momentum=0.9, weight_decay=0.01, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR[0], betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1),
    "clipped": lambda p: torch.optim.SGD(p, lr=LR[0], momentum=0.9),
}
MAX_NORM = 1.5

# Parameters 0 and 1 are the first group; a group's options go before the others.
GROUP_SHAPES = [(2, 5), (3,), (7,)]
GROUPED = {
    "groups_sgd": lambda a, b, c: torch.optim.SGD(
        [{"params": [a, b], "lr": 0.02}, {"params": [c], "momentum": 0.5, "weight_decay": 0.0, "nesterov": True}], lr=0.1, momentum=0.9, weight_decay=0.05),
    "groups_sgd_plain": lambda a, b, c: torch.optim.SGD(
        [{"params": [a, b], "momentum": 0.9, "dampening": 0.2}, {"params": [c], "lr": 0.3}], lr=0.1),
    "groups_adamw": lambda a, b, c: torch.optim.AdamW(
        [{"params": [a, b]}, {"params": [c], "lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3}], lr=0.1, eps=1e-6),
    "groups_clipped": lambda a, b, c: torch.optim.SGD([{"params": [a, b], "lr": 0.02}, {"params": [c]}], lr=0.1, momentum=0.9),
}


def trajectory(name, start, gradients):
    parameter = torch.nn.Parameter(start.clone())
    optimiser = OPTIMISERS[name]([parameter])
    for lr, gradient in zip(LR, gradients):
        optimiser.param_groups[0]["lr"] = lr
        parameter.grad = gradient.clone()
        if name == "clipped":
            torch.nn.utils.clip_grad_norm_([parameter], MAX_NORM)
        optimiser.step()
        yield parameter.detach().clone()


def grouped(name, starts, gradients):
    parameters = [torch.nn.Parameter(start.clone()) for start in starts]
    optimiser = GROUPED[name](*parameters)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = gradient.clone()
        if name == "groups_clipped":
            torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimiser.step()
        schedule.step()
        yield [parameter.detach().clone() for parameter in parameters]


def save(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = value.contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    torch.manual_seed(5)
    start = torch.randn(2, 5)
    gradients = [torch.randn(2, 5) for _ in LR]
    tensors = {"start": start, **{f"gradient.{n}": g for n, g in enumerate(gradients)}}
    for name in OPTIMISERS:
        for n, value in enumerate(trajectory(name, start, gradients)):
            tensors[f"{name}.{n}"] = value
    starts = [torch.randn(*shape) for shape in GROUP_SHAPES]
    steps = [[torch.randn(*shape) for shape in GROUP_SHAPES] for _ in LR]
    tensors.update({f"groups.start.{k}": start for k, start in enumerate(starts)})
    tensors.update({f"groups.gradient.{n}.{k}": gradient for n, step in enumerate(steps) for k, gradient in enumerate(step)})
    for name in GROUPED:
        for n, values in enumerate(grouped(name, starts, steps)):
            tensors.update({f"{name}.{n}.{k}": value for k, value in enumerate(values)})
    save(sys.argv[1], tensors)


main()
