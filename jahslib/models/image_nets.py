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

import torch
from torch import Tensor, nn

from jahslib.errors import UserError, refuse_unknown
from jahslib.extras import extra
from jahslib.models.layers import Dropout, reset_parameters

NETWORKS = ("lenet", "lenet300", "alexnet", "resnet18")
SMALLEST = {"lenet": 12, "lenet300": 1, "alexnet": 21, "resnet18": 8}  # pixels; smaller images are pooled away

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(
    network: str, *, channels: int, classes: int, size: int, generator: torch.Generator | None = None
) -> nn.Module:
    """Build a network: `n x channels x size x size` float images -> `n x classes` logits.

    Images have values in [0, 1]. `generator` is a CPU generator (None: a new one with torch's default seed), which the
    dropout layers keep for their masks.

    Raises:
        UserError: an unknown network, or images too small for it.
    """
    generator = generator or torch.Generator()
    model = _layers(network, channels, classes, size, generator).to_empty(device="cpu")
    reset_parameters(model, generator)
    for module in model.modules():
        if isinstance(module, Standardise):
            module.reset()
        elif network == "resnet18" and isinstance(
            module, nn.Conv2d
        ):  # the initialisation of the paper and of torchvision
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    return model


@lru_cache
def count_parameters(network: str, *, channels: int, classes: int, size: int) -> int:
    """Count the trainable parameters without allocating tensors. Raises as `build` does."""
    model = _layers(network, channels, classes, size, torch.Generator())
    return sum(parameter.numel() for parameter in model.parameters())


class Standardise(nn.Module):
    """Channel-wise standardisation by ImageNet's mean and deviation; not in the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.empty(1, 3, 1, 1), persistent=False)

    def reset(self) -> None:
        """Fill the buffers, which are uninitialised in a network built on the meta device."""
        self.mean.copy_(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _layers(network: str, channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
    """Build the network on the meta device: no storage, so no random numbers are drawn."""
    refuse_unknown("network:", [network], NETWORKS)
    if size < SMALLEST[network]:
        raise UserError(
            f"network: {network} needs images of at least {SMALLEST[network]} pixels, these have {size}; "
            "choose another network or data set"
        )
    make = {"lenet": _lenet, "lenet300": _lenet300, "alexnet": _alexnet, "resnet18": _resnet18}[network]
    with torch.device("meta"):
        net = make(channels, classes, size, generator)
        return nn.Sequential(Standardise(), net) if channels == 3 else net


def _lenet(channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
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
        nn.Linear(16 * width**2, 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, classes),
    )


def _lenet300(channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size**2, 300),
        nn.ReLU(inplace=True),
        nn.Linear(300, 100),
        nn.ReLU(inplace=True),
        nn.Linear(100, classes),
    )


def _alexnet(channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
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


def _resnet18(channels: int, classes: int, size: int, generator: torch.Generator) -> nn.Module:
    with extra("training"):
        from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net
