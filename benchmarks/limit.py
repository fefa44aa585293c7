"""How near training comes to what the processor can do at all: its rate of multiplying matrices, in the same run.

    python -m benchmarks.limit [--quick]

For the networks of benchmarks/training.py, growth.py and supernet.py: operations of convolutions and linear layers a
second of whole steps (forward, backward, optimizer), beside those of a product of two 1024 x 1024 matrices that is
timed before and after each. All are the smallest of repeated timings, in CPU seconds on one thread. The rest of the
table says what the time of a step goes to, by torch's profiler: what remains of the step beside all operators is
Python's, and the call of operators. Writes benchmarks/limit.md.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import growth, supernet, training
from jahslib.models import flower_cnn
from jahslib.training.trainer import Recipe, Training

TABLE = Path(__file__).with_suffix(".md")
SIZE, TIMINGS = 1024, 4
KINDS = {  # column -> what its operators are called
    "products": ("conv", "mm", "linear"),
    "pooling": ("pool",),
    "normalisation": ("norm",),
    "optimizer": ("_foreach", "lerp", "addcmul", "addcdiv", "sqrt", "fused_adam"),
    "copies": ("copy", "_to", "cat", "index", "clone", "contiguous", "reorder"),
}


def smallest(call: Callable[[], object], times: int = TIMINGS) -> float:
    """CPU seconds of a call."""
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def rate(a: torch.Tensor) -> float:
    """Floating-point operations a second of a product of matrices."""
    return 2 * len(a) ** 3 / smallest(lambda: a @ a)


def split(call: Callable[[], object], seconds: float) -> dict[str, float]:
    """The share of each kind of operators in the time of a call, and what remains beside all operators."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        call()
    shares = dict.fromkeys([*KINDS, "other operators"], 0.0)
    for event in found.key_averages():
        if event.key.startswith(("aten::", "mkldnn")):
            kind = next((k for k, parts in KINDS.items() if any(p in event.key for p in parts)), "other operators")
            shares[kind] += event.self_cpu_time_total / 1e6
    total = max(sum(shares.values()), seconds)  # the profiler itself makes operators slower
    return {kind: share / total for kind, share in shares.items()} | {"Python": 1 - sum(shares.values()) / total}


def cases(quick: bool) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """(table, network, an epoch or a pass), made ready by one that is not measured."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (680, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(17, (680,), generator=generator)
    for _, c, _, _ in training.CASES[1::3] if quick else training.CASES:
        recipe = Recipe(c["batch_size"], c["learning_rate_init"])
        made = Training(lambda g, c=c: flower_cnn.build(c, classes=17, generator=g), images, labels, recipe, seed=0)
        yield "training", training.describe(c), lambda made=made: made.run(made.epoch + 1)
    images = torch.randint(256, (1_000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (1_000,), generator=generator)
    for widths in growth.NETWORKS[::3] if quick else growth.NETWORKS:
        made = growth.static(widths, images, labels)
        yield "growth", growth.describe(widths), lambda made=made: made.run(made.epoch + 1)
    (images, labels), _ = supernet.data()
    for channels, size, _ in supernet.CASES[:1] if quick else supernet.CASES:
        net = supernet.build(channels)(generator)
        weights = torch.full((6, 5), 0.2)
        batch = images[:size].float() / 255, labels[:size]
        name = f"{'-'.join(map(str, channels))}, batch {size}"
        yield "supernet", name, lambda net=net, batch=batch, w=weights: supernet.one_pass(net, *batch, w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few networks; writes no table")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    matrix = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    kinds = [*KINDS, "other operators", "Python"]
    lines = [
        f"| table | network | GFLOP/s | share of the limit | {' | '.join(kinds)} |",
        "|---" * (4 + len(kinds)) + "|",
    ]
    limits, start = [rate(matrix)], time.perf_counter()
    for table, network, call in cases(quick):
        with FlopCounterMode(display=False) as counted:
            call()
        seconds = smallest(call)
        limits.append(rate(matrix))
        speed, limit = counted.get_total_flops() / seconds, max(limits[-2:])
        shares = split(call, seconds)
        told = " | ".join(f"{shares[kind]:.0%}" for kind in kinds)
        lines.append(f"| {table} | {network} | {speed / 1e9:.0f} | {speed / limit:.0%} | {told} |")
        print(lines[-1], flush=True)
    print(f"limit: {min(limits) / 1e9:.0f} to {max(limits) / 1e9:.0f} GFLOP/s")
    if quick:
        return
    TABLE.write_text(
        f"""# Training beside the processor's limit

Written by `python -m benchmarks.limit` in {(time.perf_counter() - start) / 60:.1f} minutes: torch
{torch.__version__.split("+")[0]}, one thread on a {os.cpu_count()}-core {platform.machine()} CPU, CPU seconds, the
smallest of {TIMINGS} timings.

The limit is the rate at which two {SIZE} x {SIZE} matrices are multiplied: {min(limits) / 1e9:.0f} to
{max(limits) / 1e9:.0f} GFLOP/s, timed before and after each network. GFLOP/s are those of the convolutions and linear
layers in whole steps of the networks of [training](training.md), [growth](growth.md) (static, without the trigger) and
[the supernet](supernet.md) (forward and backward). Then the shares of a step's time by torch's profiler; "Python" is
what remains beside all operators.

What bounds the small ones: convolutions of few channels stay far below the limit by themselves, and take about half of
the step or less; the rest moves memory (normalisation, pooling, activations). Python's own share is a tenth or so for
batches of 32 and mostly less for larger ones.

{chr(10).join(lines)}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
