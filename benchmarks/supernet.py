"""The supernet of study 05 against a straightforward mixed operation, NASLib's way, at the same number of threads.

    python -m benchmarks.supernet [--threads N] [--quick]

The opponent runs every operation of every node on its own and sums their weighted outputs, in torch's own layers and
its default memory layout; its search step calls backward for the architecture and for the weights and steps torch's
default optimizers. Both get the same initial weights, images and batches, and alternate within one process. Measured:
one pass forward and backward through the supernet ("supernet"), and whole epochs of first-order DARTS ("search").
Writes benchmarks/supernet.md.
"""

import argparse
import copy
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jahslib.models.darts.supernet import Supernet
from jahslib.problems.darts.search import Darts, Settings
from jahslib.problems.darts.skip_prevention import surrogate_fraction
from jahslib.training.losses import class_weights, focal_loss
from jahslib.training.trainer import generators

TABLE = Path(__file__).with_suffix(".md")
REQUIRED = 1.5  # of the smallest ratio
TOLERANCE = 1e-5  # between the logits, relative to the largest
IMAGES, VALIDATION, CLASSES, S = 256, 120, 5, 0.3
# channels of the three cells, batch size, measurements
CASES = [((16, 32, 64), 64, 5), ((16, 16, 16), 64, 5), ((8, 16, 32), 64, 7), ((32, 32, 32), 32, 3)]


# The ordinary way: parameters bear the names that the supernet gives them -------------------------------------------


class Identity(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int = 1):
        super().__init__()
        self.project = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.project is None else self.project(x)


class Zero(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.c_out = c_out

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(x.shape[0], self.c_out, x.shape[2], x.shape[3], dtype=x.dtype, device=x.device)


class Conv(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, kernel, padding="same"), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, kernel, padding="same"), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class ResNet(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.project = nn.Conv2d(c_in, c_out, 1)
        self.conv1, self.bn1 = nn.Conv2d(c_out, c_out, kernel, padding="same"), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, kernel, padding="same"), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class Bottleneck(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        middle = c_out // 4
        self.project = nn.Conv2d(c_in, c_out, 1)
        self.reduce, self.bn1 = nn.Conv2d(c_out, middle, 1), nn.BatchNorm2d(middle)
        self.conv, self.bn2 = nn.Conv2d(middle, middle, kernel, padding="same"), nn.BatchNorm2d(middle)
        self.expand, self.bn3 = nn.Conv2d(middle, c_out, 1), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        y = F.relu(self.bn1(self.reduce(x)))
        y = F.relu(self.bn2(self.conv(y)))
        return F.relu(x + self.bn3(self.expand(y)))


class MixedNode(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        kinds = {"identity": Identity, "zero": Zero, "conv": Conv, "resnet": ResNet, "bottleneck": Bottleneck}
        self.ops = nn.ModuleDict({name: kind(c_in, c_out, kernel) for name, kind in kinds.items()})
        self.skip = Identity(c_in, c_out)

    def forward(self, x: Tensor, weights: Tensor, s: float, convex: bool) -> Tensor:
        mixed = sum(w * op(x) for w, op in zip(weights, self.ops.values(), strict=True))
        return (1 - s) * mixed + s * self.skip(x) if convex else mixed + s * self.skip(x)


class OrdinaryCell(nn.Module):
    def __init__(self, c_in: int, c_out: int, pool: bool):
        super().__init__()
        sizes = {2: (c_in, 3), 3: (c_in, 5), 4: (c_in, 7), 5: (c_in, 9), 6: (c_out, 3), 7: (c_out, 3)}
        self.nodes = nn.ModuleDict({str(n): MixedNode(c, c_out, k) for n, (c, k) in sizes.items()})
        self.pool = pool

    def forward(self, x: Tensor, weights: Tensor, s: float, convex: bool) -> Tensor:
        def node(n: int, x: Tensor) -> Tensor:
            return self.nodes[str(n)](x, weights[n - 2], s, convex)

        y = node(2, x) + node(3, x) + node(6, node(4, x)) + node(7, node(5, x))
        return F.max_pool2d(y, 2) if self.pool else y


class OrdinarySupernet(nn.Module):
    """The ordinary way of computing what `supernet` computes, with copies of its parameters."""

    def __init__(self, supernet: Supernet):
        super().__init__()
        widths = (supernet.channels, *supernet.shape["channels"])
        self.cells = nn.ModuleList(map(OrdinaryCell, widths, widths[1:], supernet.shape["pooling"]))
        self.head = copy.deepcopy(supernet.head)
        self.classes, self.convex = supernet.classes, supernet.surrogate == "convex"
        self.to(next(supernet.parameters()).dtype).load_state_dict(supernet.state_dict())

    def forward(self, x: Tensor, weights: Tensor, s: float = 0.0) -> Tensor:
        for cell in self.cells:
            x = cell(x, weights, s, self.convex)
        return self.head(x)


# Measurements -------------------------------------------------------------------------------------------------------


def data(seed: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Random images with a bright corner that tells the class; the speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(seed)
    n = IMAGES + VALIDATION
    images = torch.randint(0, 200, (n, 3, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    for i, label in enumerate(labels.tolist()):
        images[i, label % 3, 14 * (label // 3) :, :14] += 50
    return (images[:IMAGES], labels[:IMAGES]), (images[IMAGES:], labels[IMAGES:])


def build(channels: tuple[int, ...]) -> Callable[[torch.Generator], Supernet]:
    return lambda generator: Supernet(classes=CLASSES, out_channels=channels, generator=generator)


def one_pass(supernet: nn.Module, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    logits = supernet(images, weights, S)
    supernet.zero_grad(set_to_none=True)
    F.cross_entropy(logits, labels).backward()
    return logits.detach()


def ordinary_search(train, val, build: Callable, c: Settings, device: str = "cpu") -> list[tuple[float, float]]:
    """First-order DARTS written the plain way, on the batches of `Darts`; losses of each epoch."""
    train, val = ([part.to(device) for part in images] for images in (train, val))
    own = generators(0, torch.device("cpu"))
    supernet = OrdinarySupernet(build(own["init"])).to(device)
    alphas = nn.Parameter((1e-3 * torch.randn(6, 5, generator=own["init"])).to(device))
    of_weights = torch.optim.SGD(
        supernet.parameters(), c.learning_rate, c.momentum, weight_decay=c.weight_decay, nesterov=True
    )
    of_alphas = torch.optim.Adam([alphas], c.arch_learning_rate, betas=(0.5, 0.999), weight_decay=c.arch_weight_decay)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(of_weights, c.epochs, c.learning_rate_min)
    of_classes = class_weights(train[1], supernet.classes, c.class_weight_smoothing)
    losses = []
    for epoch in range(c.epochs):
        s, total = surrogate_fraction(epoch, c.epochs), [0.0, 0.0]
        batches = torch.randperm(len(train[1]), generator=own["order"]).split(c.batch_size)
        for rows in batches:
            some = torch.randperm(len(val[1]), generator=own["order"])[: c.batch_size]
            steps = ((of_alphas, val, some), (of_weights, train, rows))
            for i, (optimizer, (images, labels), chosen) in enumerate(steps):
                optimizer.zero_grad()
                logits = supernet(images[chosen].float() / 255, alphas.softmax(1), s)
                loss = focal_loss(logits, labels[chosen], c.focal_loss_gamma, of_classes)
                loss.backward()
                if optimizer is of_weights:
                    nn.utils.clip_grad_norm_(supernet.parameters(), c.grad_clip)
                optimizer.step()
                total[i] += loss.item() / len(batches)
        rates.step()
        losses.append((total[1], total[0]))
    return losses


def our_search(train, val, build: Callable, settings: Settings) -> list[tuple[float, float]]:
    records = Darts(build, train, val, settings, seed=0).run()
    return [(record.train_loss, record.val_loss) for record in records]


def alternate(first: Callable, second: Callable, repeats: int, clock: Callable[[], float]):
    """Seconds of every call of the two, taken in turns after one round that warms up, and what that round returned."""
    results, seconds = [], ([], [])
    for repeat in range(repeats + 1):
        for method, own in zip((first, second), seconds, strict=True):
            start = clock()
            result = method()
            own.append(clock() - start)
            if repeat == 0:
                results.append(result)
    return [own[1:] for own in seconds], results


def compare(channels: tuple[int, ...], batch_size: int, repeats: int, epochs: int, clock) -> tuple[str, list[float]]:
    """A row of the table, and the median ratios of "supernet" and "search"."""
    train, val = data()
    images, labels = train[0][:batch_size].float() / 255, train[1][:batch_size]
    ours = build(channels)(torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    ordinary = OrdinarySupernet(ours)
    weights = (0.1 * torch.randn(6, 5, generator=torch.Generator().manual_seed(1))).softmax(1)
    settings = Settings(epochs=epochs, batch_size=batch_size, apply_early_stopping=False)

    passes, (theirs, own) = alternate(
        lambda: one_pass(ordinary, images, labels, weights),
        lambda: one_pass(ours, images, labels, weights),
        repeats,
        clock,
    )
    difference = ((theirs - own).abs().max() / theirs.abs().max()).item()
    assert difference < TOLERANCE, f"the logits of {channels} differ by {difference:.1e}"
    searches, losses = alternate(
        lambda: ordinary_search(train, val, build(channels), settings),
        lambda: our_search(train, val, build(channels), settings),
        max(1, repeats // 2),
        clock,
    )
    apart = max(abs(b / a - 1) for pair in zip(*losses, strict=True) for a, b in zip(*pair, strict=True))
    assert apart < 0.01, f"the losses of {channels} differ by {apart:.1%}"

    cells, ratios = [], []
    for seconds, count in ((passes, batch_size), (searches, IMAGES * epochs)):
        speeds = [count / statistics.median(own) for own in seconds]
        pairwise = [a / b for a, b in zip(*seconds, strict=True)]
        ratios.append(statistics.median(pairwise))
        cells += [f"{speeds[0]:.1f}", f"{speeds[1]:.1f}"]
        cells.append(f"{ratios[-1]:.2f} ({min(pairwise):.2f}–{max(pairwise):.2f})")
    name = f"{'-'.join(map(str, channels))}, batch {batch_size}"
    return f"| {' | '.join([name, *cells, f'{difference:.0e}', f'{apart:.1%}'])} |", ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two supernets, few measurements; writes no table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # On one thread CPU seconds are the seconds that pass, less what other programs on the machine take.
    clock = time.process_time if options.threads == 1 else time.perf_counter

    lines = [
        "| channels | supernet: ordinary, images/s | ours | ratio | search: ordinary, images/s | ours | ratio "
        "| difference of logits | of losses |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios, start = [], time.perf_counter()
    for channels, batch_size, repeats in CASES[:3:2] if options.quick else CASES:
        line, pair = compare(channels, batch_size, 2 if options.quick else repeats, 1 if options.quick else 2, clock)
        lines.append(line)
        ratios.append(pair)
        print(line, flush=True)
    minutes = (time.perf_counter() - start) / 60

    smallest = [min(column) for column in zip(*ratios, strict=True)]
    verdict = [
        f"- {name}: at least {REQUIRED}x wanted, smallest {ratio:.2f}x: {'met' if ratio >= REQUIRED else 'not met'}"
        for name, ratio in zip(("supernet", "search"), smallest, strict=True)
    ]
    print("\n".join(verdict))
    if options.quick:
        return
    threads = "one thread" if options.threads == 1 else f"{options.threads} threads"
    second = "CPU second" if options.threads == 1 else "second"
    TABLE.write_text(f"""# Speed of the supernet

Written by `python -m benchmarks.supernet` in {minutes:.1f} minutes: torch {torch.__version__.split("+")[0]},
{threads} on a {os.cpu_count()}-core {platform.machine()} CPU. Images of 3 x 28 x 28 pixels, {CLASSES} classes, three
cells, each with a pooling.

The ordinary way runs every operation of every node on its own, in torch's layers, and sums their weighted outputs.
"supernet" is one pass forward and backward of a batch, "search" are whole epochs of first-order DARTS ({IMAGES}
training and {VALIDATION} validation images): two passes, both optimizers, clipping. Both ways have the same initial
weights and batches. Speeds are medians in training images a {second}; ratios are medians (smallest–largest) over the
alternating measurements, taken pair by pair. The logits are compared relative to the largest, the losses of the search
relative to the ordinary ones.

{chr(10).join(lines)}

{chr(10).join(verdict)}
""")


if __name__ == "__main__":
    main()
