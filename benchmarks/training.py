"""The training core against the ordinary way, on one thread: same networks, initial weights, batches and masks.

    JAHSLIB_DATA=/path/to/data python -m benchmarks.training [--quick]

Opponents, both NCHW with torch.optim.Adam's defaults and the per-batch metrics of study 07's original (top-3, top-5 and
scikit-learn's precision, in training and in validation):
(a) torchvision's ImageFolder (JPEG decoding, ToTensor) in a DataLoader without workers;
(b) the decoded images as a TensorDataset in a DataLoader without workers.
For information, (c) is (b) without metrics in training. All train the same epochs and validate once, after the last;
ours computes the same validation metrics. The methods alternate within one process. Writes benchmarks/training.md.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import precision_score
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from jahslib.models import flower_cnn, layers
from jahslib.training import metrics
from jahslib.training.trainer import Recipe, Training, generators

TABLE = Path(__file__).with_suffix(".md")
WIDE, SMALL = "wide", "16-64 channels"
REQUIRED = {SMALL: (3.0, 1.4), WIDE: (1.0, 1.0)}  # against (a) and (b)


def network(widths: tuple[int, ...], kernel: int, batch_size: int) -> dict:
    convolutions = {f"n_channels_conv_{i}": width for i, width in enumerate(widths)}
    fully_connected = {"n_fc_layers": 1, "n_channels_fc_0": 226, "use_BN": True, "dropout_rate": 0.2}
    sizes = {"n_conv_layers": len(widths), "kernel_size": kernel, "batch_size": batch_size}
    return convolutions | fully_connected | sizes | {"learning_rate_init": 0.0015}


# group, configuration, epochs a measurement, measurements
CASES = [
    *((SMALL, network((16, 32), 3, batch_size), 4, 5) for batch_size in (32, 128, 280)),
    *((SMALL, network((32, 64), 3, batch_size), 3, 5) for batch_size in (32, 128, 280)),
    *((SMALL, network((16, 32, 64), 3, batch_size), 4, 5) for batch_size in (32, 128, 290)),
    (SMALL, network((16, 32, 64), 5, 128), 3, 5),
    (WIDE, network((256, 512), 3, 128), 1, 3),
    (WIDE, flower_cnn.ROW_1, 1, 3),
]


def image_folder(scratch: Path) -> tuple[str, Path]:
    """A name for the data and a folder of JPEGs, one folder a class; 1020 images of 16 x 16 pixels."""
    if "JAHSLIB_DATA" in os.environ:
        archive = Path(os.environ["JAHSLIB_DATA"]) / "micro17flower.tar.gz"
        shutil.unpack_archive(archive, scratch / "flowers", filter="data")
        return "micro17flower", next((scratch / "flowers").glob("**/train"))
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images[:1020], digits.target[:1020], strict=True)):
        folder = scratch / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((image * 15.9).astype(np.uint8)).resize((16, 16)).convert("RGB")
        picture.save(folder / f"{i:04}.jpg", quality=95)
    return "scikit-learn's digits, enlarged and written as JPEGs", scratch / "digits"


class Order(Sampler):
    """The batch order of the training core, for a DataLoader."""

    def __init__(self, n: int, generator: torch.Generator):
        self.n, self.generator = n, generator

    def __iter__(self):
        return iter(torch.randperm(self.n, generator=self.generator).tolist())

    def __len__(self) -> int:
        return self.n


def batch_metrics(logits, labels, classes: int) -> np.ndarray:
    """Top-3, top-5 and each class's precision on one batch, times its size."""
    hit = logits.topk(5, dim=1).indices == labels[:, None]
    top = [hit[:, :k].any(dim=1).float().mean().item() for k in (3, 5)]
    precision = precision_score(labels, logits.argmax(dim=1), labels=range(classes), average=None, zero_division=0)
    return len(labels) * np.array([*top, *precision])


def ordinary(train, val, configuration: dict, classes: int, epochs: int, seed: int, *, train_metrics: bool = True):
    """A DataLoader loop; mean loss of each epoch, and (top-3, top-5, batchwise precision) of the validation set."""
    own, batch_size = generators(seed, torch.device("cpu")), configuration["batch_size"]
    model = flower_cnn.build(configuration, classes=classes, generator=own["init"])
    for module in model.modules():
        if isinstance(module, layers.Dropout):
            module.generator = own["layers"]
    optimizer = torch.optim.Adam(model.parameters(), lr=configuration["learning_rate_init"])
    train_batches = DataLoader(train, batch_size, sampler=Order(len(train), own["order"]))
    losses = []
    for _ in range(epochs):
        model.train()
        loss_sum, metric_sum = 0.0, 0.0
        for images, labels in train_batches:
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(labels)
            if train_metrics:
                metric_sum += batch_metrics(logits.detach(), labels, classes)
        losses.append(loss_sum / len(train))
    return losses, validate(model, val, batch_size, classes)


@torch.no_grad()
def validate(model: nn.Module, val, batch_size: int, classes: int) -> tuple[float, float, float]:
    model.eval()
    total = sum(batch_metrics(model(images), labels, classes) for images, labels in DataLoader(val, batch_size)) / len(
        val
    )
    return total[0], total[1], total[2:].mean()


def ours(train, val, configuration: dict, classes: int, epochs: int, seed: int):
    """The training core; returns what `ordinary` returns."""

    def build(generator: torch.Generator) -> nn.Module:
        return flower_cnn.build(configuration, classes=classes, generator=generator)

    recipe = Recipe(configuration["batch_size"], configuration["learning_rate_init"])
    training = Training(build, *train, recipe, seed=seed)
    losses = training.run(epochs)
    images, labels = val
    logits = training.predict(images)
    top = [metrics.top_k_accuracy(logits, labels, k) for k in (3, 5)]
    return losses, (*top, metrics.batchwise_precision(logits, labels, classes, recipe.batch_size))


def measure(methods: dict, configuration: dict, classes: int, epochs: int, repeats: int):
    """CPU seconds of every measurement of each method, alternating, and the largest relative differences of the others'
    mean losses from ours, in the first epoch and in any.

    On one thread CPU seconds are the seconds that pass, less what other programs on the machine take.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    first = later = 0.0
    for repeat in range(-1, repeats):  # the first round, untimed, warms up
        losses = {}
        for name, method in methods.items():
            start = time.process_time()
            losses[name], _ = method(configuration, classes, epochs, max(repeat, 0))
            if repeat >= 0:
                seconds[name].append(time.process_time() - start)
        for curve in losses.values():
            difference = np.abs(np.array(curve) / losses["ours"] - 1)
            first, later = max(first, difference[0]), max(later, difference.max())
    # Rounding differs between memory layouts, and training amplifies it from step to step.
    assert first < 2e-3 and later < 0.1, f"the losses of {configuration} differ by {first:.4f} and {later:.4f}"
    return seconds, first, later


def describe(configuration: dict) -> str:
    widths = "-".join(str(configuration[f"n_channels_conv_{i}"]) for i in range(configuration["n_conv_layers"]))
    return f"{widths}, kernel {configuration['kernel_size']}, batch {configuration['batch_size']}"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three small networks, few epochs; writes no table")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as scratch:
        data, folder = image_folder(Path(scratch))
        files = ImageFolder(str(folder), ToTensor())
        classes = len(files.classes)
        decoded = torch.stack([image for image, _ in files])
        labels = torch.tensor(files.targets)
        split = StratifiedKFold(3, shuffle=True, random_state=42)
        rows = [torch.from_numpy(r) for r in next(split.split(labels, labels))]

        pictures = [Subset(files, r.tolist()) for r in rows]
        tensors = [TensorDataset(decoded[r], labels[r]) for r in rows]
        bytes_ = [((decoded[r] * 255).round().to(torch.uint8), labels[r]) for r in rows]
        methods = {
            "ours": lambda *a: ours(*bytes_, *a),
            "a": lambda *a: ordinary(*pictures, *a),
            "b": lambda *a: ordinary(*tensors, *a),
            "c": lambda *a: ordinary(*tensors, *a, train_metrics=False),
        }

        lines = [
            "| network | ours, epochs/s | (a) | (b) | (c) | ours / (a) | ours / (b) | ours / (c) |",
            "|---|---|---|---|---|---|---|---|",
        ]
        medians: dict[str, list[tuple[float, float]]] = {SMALL: [], WIDE: []}
        differences = []
        start = time.perf_counter()
        for group, configuration, epochs, repeats in CASES[1:9:3] if quick else CASES:
            epochs, repeats = (2, 2) if quick else (epochs, repeats)
            seconds, *difference = measure(methods, configuration, classes, epochs, repeats)
            differences.append(difference)
            speeds = [f"{epochs / statistics.median(values):.2f}" for values in seconds.values()]
            ratios = {
                name: [other / own for other, own in zip(seconds[name], seconds["ours"], strict=True)] for name in "abc"
            }
            medians[group].append((statistics.median(ratios["a"]), statistics.median(ratios["b"])))
            lines.append(f"| {describe(configuration)} | {' | '.join([*speeds, *map(spread, ratios.values())])} |")
            print(lines[-1], flush=True)
        minutes = (time.perf_counter() - start) / 60

    first, later = np.max(differences, axis=0)
    verdict = []
    for group, pairs in medians.items():
        for opponent, required, reached in zip("ab", REQUIRED[group], map(min, zip(*pairs, strict=True)), strict=False):
            word = "met" if reached >= required else "not met"
            verdict.append(
                f"- {group}, against ({opponent}): at least {required:g}x wanted, smallest {reached:.2f}x: {word}"
            )
    table = f"""# Speed of the training core

Written by `python -m benchmarks.training` in {minutes:.1f} minutes: torch {torch.__version__.split("+")[0]},
one thread on a {os.cpu_count()}-core {platform.machine()} CPU. Data: {data},
{len(rows[0])} training and {len(rows[1])} validation images of 16 x 16 pixels.

Each method trains the same network from the same weights on the same batches with the same dropout masks, then
validates once (top-3, top-5, batchwise precision). (a) ImageFolder and DataLoader, JPEGs decoded every epoch; (b)
TensorDataset and DataLoader; both with NCHW tensors, Adam's defaults, no workers and, as in the original of study 07,
top-3, top-5 and scikit-learn's precision on every training batch. (c) is (b) without metrics in training. Ours computes
none in training either. Epochs a second count the whole run, validation and set-up of the network included, file
listing and the construction of data set objects not, in CPU seconds of the process. Speeds are medians; ratios are
medians (smallest–largest) over the alternating measurements, taken pair by pair. The mean training losses agree: they
differ by at most {first:.2%} in the first epoch and, as rounding is amplified from step to step, {later:.1%} later on.

{chr(10).join(lines)}

{chr(10).join(verdict)}
"""
    print("\n".join(verdict))
    if not quick:
        TABLE.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
