"""The networks of study 06: the original's AlexNet for small images, and alternatives.

- "alexnet": torchvision's AlexNet (Krizhevsky et al., NeurIPS 2012) with a first convolution of kernel 11, stride 1 and
  padding 2, pooling to 1 x 1 and hence 256 inputs to the first fully connected layer: the only network of the original
  project. 20,713,380 parameters for 3 channels and 100 classes, 20,344,650 for 10.
- "resnet18": torchvision's ResNet-18 with the stem for small images (He et al., CVPR 2016, section 4.2): a 3 x 3
  convolution of stride 1 and no max-pooling before the first stage.
- "lenet": LeNet-5 (LeCun et al., Proceedings of the IEEE 86(11), 1998) with ReLU and max-pooling; torchvision has none.
- "lenet300": the same paper's fully connected LeNet-300-100, with ReLU.

Images of three channels are standardised inside the network by ImageNet's mean and deviation, grey ones not at all, as
in the original. Weights follow each network's own default distributions, drawn from a generator that is passed in.
"""

from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

from jahslib.errors import UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.models import layers
from jahslib.models.layers import Dropout, Standardise, reset_parameters

NETWORKS = ("lenet", "lenet300", "alexnet", "resnet18")
SMALLEST = {"lenet": 12, "lenet300": 1, "alexnet": 21, "resnet18": 8}  # pixels; smaller images are pooled away

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(
    network: str, *, channels: int, classes: int, size: int, generator: torch.Generator | None = None
) -> nn.Module:
    """Build a network: `n x channels x size x size` float images in [0, 1] -> `n x classes` logits.

    `generator` is on the CPU (None: a new one); the dropout layers keep it for their masks. Raises `UserError` for an
    unknown network, or images too small for it.
    """
    generator = generator or torch.Generator()
    with torch.device("meta"):  # torchvision's layers would draw from torch's own generator
        model = _layers(network, channels, classes, size, generator)
    model.to_empty(device="cpu")
    reset_parameters(model, generator)
    for module in model.modules():
        if network == "resnet18" and isinstance(module, nn.Conv2d):  # the paper's and torchvision's initialisation
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    if channels != 3:
        return model
    return nn.Sequential(Standardise(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)), model)


@lru_cache
def count_parameters(network: str, *, channels: int, classes: int, size: int) -> int:
    """Count the trainable parameters without allocating tensors. Raises as `build` does."""
    return layers.count_parameters(_layers, network, channels, classes, size, torch.Generator())


def _layers(network: str, channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
    refuse_unknown("network:", [network], NETWORKS)
    if size < SMALLEST[network]:
        raise UserError(
            f"network: {network} needs images of at least {SMALLEST[network]} pixels, these have {size}; "
            "choose another network or data set"
        )
    match network:
        case "lenet":
            return _lenet(channels, classes, size)
        case "lenet300":
            return nn.Sequential(nn.Flatten(), *_perceptron(channels * size**2, 300, 100, classes))
        case "alexnet":
            return _alexnet(channels, classes, generator)
        case _:
            return _resnet18(channels, classes)


def _perceptron(*widths: int) -> list[nn.Module]:
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        made += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return made[:-1]


def _lenet(channels: int, classes: int, size: int) -> nn.Module:
    padding = 2 if size < 32 else 0  # MNIST's 28 pixels enter LeNet-5 padded to 32
    width = ((size + 2 * padding - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *_perceptron(16 * width**2, 120, 84, classes),
    )


def _alexnet(channels: int, classes: int, generator: torch.Generator) -> nn.Module:
    with extra("training"):
        from torchvision.models import alexnet

    net = alexnet(weights=None, num_classes=classes)
    net.features[0] = nn.Conv2d(channels, 64, 11, stride=1, padding=2)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    for i, module in enumerate(net.classifier):
        if isinstance(module, nn.Dropout):
            net.classifier[i] = Dropout(module.p, generator)
    net.classifier[1] = nn.Linear(256, 4096)
    return net


def _resnet18(channels: int, classes: int) -> nn.Module:
    with extra("training"):
        from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net
