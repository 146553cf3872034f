"""WS-DAN in PyTorch, stated from the paper and the published loop: what the fixtures of training steps are made with.

Random choices are not drawn but made here, so that another program can repeat them: maps by the numbers of portable.py, and of
some thresholds the one that stays farthest from every pixel of its upsampled map, so that float32 draws the same boxes and masks.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.resnet import BasicBlock

from portable import projection, uniform

BETA, SCALE, CROP_PADDING = 0.05, 100.0, 0.1
CROP_THETA, DROP_THETA = (0.4, 0.6), (0.2, 0.5)


# ---------------------------------------------------------------- backbones: modules with torchvision's names and `channels`


class SmallResidual(nn.Module):
    """3x3 stem and residual blocks: {'stem': {'width', 'stride'}, 'depths', 'widths', 'strides'}."""

    def __init__(self, description):
        super().__init__()
        width = description['stem']['width']
        self.conv1 = nn.Conv2d(3, width, 3, description['stem']['stride'], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = zip(description['depths'], description['widths'], description['strides'])
        self.stages = len(description['depths'])
        for number, (depth, channels, stride) in enumerate(stages, 1):
            blocks = []
            for i in range(depth):
                step = stride if i == 0 else 1
                around = None
                if step != 1 or width != channels:
                    around = nn.Sequential(nn.Conv2d(width, channels, 1, step, bias=False), nn.BatchNorm2d(channels))
                blocks.append(BasicBlock(width, channels, step, around))
                width = channels
            setattr(self, f'layer{number}', nn.Sequential(*blocks))
        self.channels = width

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.stages + 1):
            x = getattr(self, f'layer{number}')(x)
        return x


class Chain(nn.Module):
    """Some children of a torchvision network, one after the other, under their own names."""

    def __init__(self, network, names, channels):
        super().__init__()
        self.names, self.channels = names, channels
        for name in names:
            setattr(self, name, getattr(network, name))

    def forward(self, x):
        for name in self.names:
            x = getattr(self, name)(x)
        return x


INCEPTION = ['Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'maxpool1', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3', 'maxpool2', 'Mixed_5b', 'Mixed_5c', 'Mixed_5d',
             'Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e', 'Mixed_7a', 'Mixed_7b', 'Mixed_7c']
RESNET = ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4']


def trunk(name):
    """torchvision's network up to its last feature map."""
    if name.startswith('inception'):
        network = torchvision.models.inception_v3(aux_logits=False, init_weights=False)
        return Chain(network, INCEPTION[:15], 768) if name.endswith('6e') else Chain(network, INCEPTION, 2048)
    network = getattr(torchvision.models, name)()
    return Chain(network, ['features'], 512) if name.startswith('vgg') else Chain(network, RESNET, network.fc.in_features)


# ---------------------------------------------------------------- the network


class Head(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 1, bias=False)
        self.bn = nn.BatchNorm2d(maps, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Network(nn.Module):
    """-> logits, feature matrix (unit norm), attention maps."""

    def __init__(self, features, maps, classes, scale=SCALE):
        super().__init__()
        self.features = features
        self.attentions = Head(features.channels, maps)
        self.fc = nn.Linear(maps * features.channels, classes, bias=False)
        self.scale = scale

    def forward(self, x):
        features = self.features(x)
        maps = self.attentions(features)
        parts = torch.stack([(maps[:, m:m + 1] * features).mean((2, 3)) for m in range(maps.shape[1])], 1).flatten(1)
        rooted = parts.sign() * torch.sqrt(parts.abs() + 1e-12)
        matrix = rooted / rooted.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return self.fc(self.scale * matrix), matrix, maps


# ---------------------------------------------------------------- attention-guided augmentation


def upsampled(one_map, size):
    return F.interpolate(one_map[None, None], (size, size), mode='bilinear', align_corners=True)[0, 0]


def safest_theta(one_map, size, low, high, candidates):
    """The threshold, among some in the range, whose distance to the nearest pixel is largest: (theta, distance)."""
    pixels = (upsampled(one_map, size).double() / one_map.max().double()).flatten().sort()[0]
    candidates = torch.linspace(low, high, candidates).to(torch.float32).to(torch.float64)
    above = torch.searchsorted(pixels, candidates).clamp(1, len(pixels) - 1)
    gaps = torch.minimum((pixels[above] - candidates).abs(), (candidates - pixels[above - 1]).abs())
    best = int(gaps.argmax())
    return float(candidates[best]), float(gaps[best])


def box_of(one_map, size, theta, padding):
    """y0, x0, y1, x1, half-open, of {map >= theta * max} with a margin."""
    hot = upsampled(one_map, size) >= theta * one_map.max()
    rows, columns = hot.any(1).nonzero().flatten(), hot.any(0).nonzero().flatten()
    y0, x0 = (max(int(float(edge[0]) - padding * size), 0) for edge in (rows, columns))
    y1, x1 = (min(int(float(edge[-1]) + padding * size), size) for edge in (rows, columns))
    return [y0, x0, y1, x1]


def enlarged(image, box):
    y0, x0, y1, x1 = box
    return F.interpolate(image[None, :, y0:y1, x0:x1], image.shape[1:], mode='bilinear', align_corners=True)[0]


def dropped(image, one_map, theta):
    """The image without its attended pixels, and the share of pixels kept."""
    mask = upsampled(one_map, image.shape[1]) < theta * one_map.max()
    return image * mask, float(mask.double().mean())


def choose(step, maps, size, smallest_gap, candidates=40):
    """Map numbers [B, 2] and thresholds [2, B] of a step; only maps with some attention are chosen."""
    numbers, thetas, gaps = [], [], []
    for b in range(len(maps)):
        alive = [m for m in range(maps.shape[1]) if maps[b, m].max() > 0.1]
        picks = [alive[int(u * len(alive))] for u in uniform(4000 + step, 2 * len(maps))[2 * b:2 * b + 2]]
        numbers.append(picks)
        chosen = [safest_theta(maps[b, m], size, *limits, candidates) for m, limits in zip(picks, (CROP_THETA, DROP_THETA))]
        thetas.append([theta for theta, _ in chosen])
        gaps += [gap for _, gap in chosen]
    assert min(gaps) > smallest_gap, f'step {step}: a pixel lies {min(gaps)} from its threshold'
    return torch.tensor(numbers), torch.tensor(thetas, dtype=torch.float64).t().contiguous()


# ---------------------------------------------------------------- training


def train_step(net, images, labels, centers, draws):
    """Losses and gradients of one step; centers change. `draws` maps attention maps to (numbers, thetas)."""
    size = images.shape[2]
    logits, matrix, maps = net(images)
    own = F.normalize(centers[labels], dim=1)
    center_loss = ((matrix - own) ** 2).sum(1).mean()
    for b, label in enumerate(labels.tolist()):
        centers[label] += BETA * (matrix[b].detach() - own[b])
    with torch.no_grad():
        numbers, thetas = draws(maps)
        batch = range(len(images))
        boxes = [box_of(maps[b, numbers[b, 0]], size, thetas[0, b], CROP_PADDING) for b in batch]
        cropped = torch.stack([enlarged(images[b], boxes[b]) for b in batch])
        drops = [dropped(images[b], maps[b, numbers[b, 1]], thetas[1, b]) for b in batch]
    all_logits = [logits, net(cropped)[0], net(torch.stack([image for image, _ in drops]))[0]]
    terms = [F.cross_entropy(z, labels) for z in all_logits] + [center_loss]
    (sum(terms[:3]) / 3 + center_loss).backward()
    return {'logits': [z.detach() for z in all_logits], 'terms': torch.stack(terms).detach(), 'boxes': torch.tensor(boxes),
            'kept': [share for _, share in drops], 'numbers': numbers, 'thetas': thetas}


def summary(tensors, first):
    """Norm, and sum of the elements with fixed weights, of each tensor; the n-th with the weights number first + n."""
    return {name: [float(value.detach().double().norm()), projection(value.double(), first + i)] for i, (name, value) in enumerate(tensors)}


def worst_relative(actual, expected):
    """Largest difference, relative to the largest expected value."""
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())
