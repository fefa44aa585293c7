"""That the original's network of study 06 learns: AlexNet trained once on each data set, beside LeNet-5.

    python -m benchmarks.alexnet [--logs FOLDER]

The study searches with LeNet-5, as a training of AlexNet takes a CPU some minutes even on a part of the images. Here
both are trained on the first 6,000 training images, as many of each class, for 5 epochs of SGD with a learning rate of
0.01 in batches of 32 (else the original's defaults) and tested on all test images; "guessing" is one in the number of
classes. Every training is logged: an interrupted run goes on. Writes benchmarks/alexnet.md.
"""

import argparse
from pathlib import Path

import torch

from jahslib.core.optimizer import Listed
from jahslib.data import registry
from jahslib.problems.tuned_network import DEFAULT, TunedNetwork
from jahslib.search import Budget, search

TABLE = Path(__file__).with_suffix(".md")
DATA, NETWORKS = ("mnist", "cifar10-rebuilt", "cifar100"), ("alexnet", "lenet")
IMAGES, EPOCHS, BATCH = 6_000, 5, 32
CONFIGURATION = DEFAULT | {"lr": 0.01}


def trained(network: str, data: str, logs: Path) -> tuple[float, int]:
    """Test accuracy of one training, and the network's parameters."""
    problem = TunedNetwork(
        network=network,
        data=data,
        split="test",
        per_class=IMAGES // registry.load(data).classes,
        batch_size=BATCH,
        min_epochs=EPOCHS,
        max_epochs=EPOCHS,
    )
    once = Listed(problem, 0, [CONFIGURATION])
    (trial,) = search(problem, once, Budget(trials=1), logs / f"{network}-{data}.jsonl", seed=0)
    return trial.metrics["top1"], int(trial.metrics["params"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("alexnet-logs"), help="folder of the trial logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head, _, about = (__doc__ or "").split("\n\n")
    about = about.rpartition(" Writes ")[0].replace("\n", " ")
    lines = [f"# {head.rstrip('.')}", "", f"Written by `python -m benchmarks.alexnet`. {about}", ""]
    lines.append("| data set | AlexNet | LeNet-5 | guessing | parameters of AlexNet | of LeNet-5 |")
    lines.append("|---|---|---|---|---|---|")
    for data in DATA:
        (alexnet, many), (lenet, few) = (trained(network, data, options.logs) for network in NETWORKS)
        guessing = 1 / registry.load(data).classes
        lines.append(f"| {data} | {alexnet:.3f} | {lenet:.3f} | {guessing:.2f} | {many:,} | {few:,} |")
    print("\n".join(lines))
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
