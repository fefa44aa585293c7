"""What growing costs, on one thread: training against static networks, and the trigger against one that takes SVDs.

    JAHSLIB_DATA=/path/to/data python -m benchmarks.growth [--quick]

(a) Training. First at equal widths: a network whose rule looks at its activations after every step and never adds a
neuron, against the same network in torch's own layers. Then complete runs: a network that grows, against torch's own
layers of its final size from the start. Both in the training core, on the same batches; the methods alternate.
(b) The trigger alone, on activations captured in training: effective ranks from Gram matrices, as in
`jahslib.models.growing.ranks`, against a full SVD of every layer's activation matrix, from which the original reads
them. (c) The ranks of (b) against an SVD in double precision, and the time of both, over whole trainings.
Writes benchmarks/growth.md.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.models.growing import ranks
from jahslib.models.growing.convnet import GrowingConvNet
from jahslib.models.growing.neurogenesis import GrowthRule, Neurogenesis
from jahslib.training.trainer import Recipe, Training

TABLE = Path(__file__).with_suffix(".md")
MOST_OVERHEAD, LEAST_SPEEDUP = 0.25, 5.0
RECIPE = Recipe(100, 0.01)
ENDLESS = 10**9  # a limit on parameters that is looked at and never met

# convolutions, fully connected layers: the smallest, q = .8's, the baseline, the incumbent's, q = .4's, one with both
NETWORKS = [
    ((8, 8, 8), ()),
    ((10, 16, 21), ()),
    ((16, 32, 64), ()),
    ((30, 34, 36, 28), ()),
    ((38, 126, 131), ()),
    ((16, 32), (64,)),
]

# name, initial widths, rule
GROWING = [
    ("q = .8", (8,) * 3, GrowthRule(conv_threshold=0.8, max_conv=256)),
    ("q = .4", (8,) * 3, GrowthRule(conv_threshold=0.4, max_conv=256)),
    ("incumbent, every 10th step", (8,) * 4, GrowthRule(conv_threshold=0.104, max_params=30_000)),
    ("incumbent, every step", (8,) * 4, GrowthRule(conv_threshold=0.104, max_params=30_000, every=1)),
    ("NORTH-Select", (16,) * 3, GrowthRule("north", conv_threshold=0.9, every=1, max_conv=256)),
]


@dataclass(frozen=True)
class Scale:
    """How much is measured: images, their epochs in complete runs, measurements, and the cases taken."""

    images: int = 6_000
    epochs: int = 3
    repeats: int = 3
    networks: list = field(default_factory=lambda: NETWORKS)
    growing: list = field(default_factory=lambda: GROWING)


QUICK = Scale(2_000, 2, 2, NETWORKS[0:4:3], GROWING[0:3:2])


def load(count: int) -> tuple[str, torch.Tensor, torch.Tensor]:
    """Images spread over the training split of Fashion-MNIST, or of mnist5k where that is not found."""
    try:
        loaded = registry.load("fashion_mnist")
    except (UserError, OSError):
        loaded = registry.load("mnist5k")
    rows = torch.linspace(0, len(loaded.labels) - 1, min(count, len(loaded.labels))).long()
    return loaded.name, loaded.images[rows], loaded.labels[rows]


def growing(widths: tuple[tuple[int, ...], tuple[int, ...]], rule: GrowthRule, x, y) -> Training:
    def build(generator: torch.Generator) -> nn.Module:
        return Neurogenesis(GrowingConvNet(*widths, generator=generator), rule, generator=generator)

    return Training(build, x, y, RECIPE, seed=0, after_step=Neurogenesis.grow)


def static(widths: tuple[tuple[int, ...], tuple[int, ...]], x, y) -> Training:
    return Training(lambda generator: GrowingConvNet(*widths, generator=generator).static(), x, y, RECIPE, seed=0)


def alternate(methods: dict[str, Callable[[], Training]], epochs: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of `epochs` epochs of fresh trainings, alternating; the first, untimed round warms up.

    On one thread CPU seconds are the seconds that pass, less what other programs on the machine take.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(-1, repeats):
        for name, method in methods.items():
            training = method()
            start = time.process_time()
            training.run(epochs)
            if repeat >= 0:
                seconds[name].append(time.process_time() - start)
    return seconds


def overheads(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b - 1 for a, b in zip(ours, theirs, strict=True)]


def equal_widths(x, y, scale: Scale) -> tuple[list[str], list[float]]:
    """(a), first part: rows of the table and the median overheads."""
    watching = GrowthRule(conv_threshold=1.0, fc_threshold=1.0, every=1, max_conv=256, max_params=ENDLESS)
    rows, medians = [], []
    steps = -(-len(x) // RECIPE.batch_size)
    for widths in scale.networks:
        methods = {"ours": lambda w=widths: growing(w, watching, x, y), "static": lambda w=widths: static(w, x, y)}
        seconds = alternate(methods, 1, scale.repeats)
        ms = [1000 * statistics.median(seconds[name]) / steps for name in methods]
        over = overheads(seconds["ours"], seconds["static"])
        medians.append(statistics.median(over))
        rows.append(f"| {describe(widths)} | {ms[0]:.2f} | {ms[1]:.2f} | {spread(over, '+.1%')} |")
        print(rows[-1], flush=True)
    return rows, medians


def complete_runs(x, y, scale: Scale) -> tuple[list[str], list[float]]:
    """(a), second part."""
    rows, medians = [], []
    for name, initial, rule in scale.growing:
        once = growing((initial, ()), rule, x, y)
        once.run(scale.epochs)
        final = (tuple(once.model.net.widths), ())
        methods = {
            "ours": lambda i=initial, r=rule: growing((i, ()), r, x, y),
            "static": lambda w=final: static(w, x, y),
        }
        seconds = alternate(methods, scale.epochs, scale.repeats)
        over = overheads(seconds["ours"], seconds["static"])
        medians.append(statistics.median(over))
        times = " | ".join(f"{statistics.median(seconds[m]):.2f}" for m in methods)
        rows.append(f"| {name} | {describe((initial, ()))} | {describe(final)} | {times} | {spread(over, '+.1%')} |")
        print(rows[-1], flush=True)
    return rows, medians


def by_gram(outputs: list[torch.Tensor]) -> list[float]:
    return [ranks.effective_rank(ranks.activation_singular_values(output)) for output in outputs]


def by_full_svd(outputs: list[torch.Tensor]) -> list[float]:
    matrices = [ranks.activation_matrix(output) for output in outputs]
    return [ranks.effective_rank(torch.linalg.svd(matrix, full_matrices=False).S) for matrix in matrices]


def by_values(outputs: list[torch.Tensor]) -> list[float]:
    return [ranks.effective_rank(torch.linalg.svdvals(ranks.activation_matrix(output))) for output in outputs]


def timed(method: Callable[[list[torch.Tensor]], list[float]], outputs: list[torch.Tensor]) -> float:
    start = time.process_time()
    method(outputs)
    return time.process_time() - start


def trigger(x, y, scale: Scale) -> tuple[list[str], list[float]]:
    """(b): rows and the median ratios of the full SVD's time to ours."""
    rows, smallest = [], []
    for widths in scale.networks:
        captured: list[list[torch.Tensor]] = []

        def keep(model, *step, captured=captured):
            if len(captured) < 8:
                captured.append(model.net.captured[1:])
            model.grow()

        rule = GrowthRule(conv_threshold=1.0, fc_threshold=1.0, every=1, max_conv=256)
        training = growing(widths, rule, x[:1000], y[:1000])
        training.after_step = keep
        training.run(1)
        methods = {"gram": by_gram, "svd": by_full_svd, "values": by_values}
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for repeat in range(-1, scale.repeats):
            for name, method in methods.items():
                total = sum(timed(method, outputs) for outputs in captured)
                if repeat >= 0:
                    seconds[name].append(total / len(captured))
        ms = " | ".join(f"{1000 * statistics.median(values):.2f}" for values in seconds.values())
        ratios = [a / b for a, b in zip(seconds["svd"], seconds["gram"], strict=True)]
        smallest.append(statistics.median(ratios))
        rows.append(f"| {describe(widths)} | {ms} | {spread(ratios, '.1f')} |")
        print(rows[-1], flush=True)
    return rows, smallest


def accuracy(x, y, scale: Scale) -> list[str]:
    """(c): errors of the ranks over whole trainings, and times of both triggers, in every fifth step."""
    rows = []
    never = GrowthRule(conv_threshold=1.0, every=1, max_conv=256)
    cases = [("16-32-64, static", (16, 32, 64), never), *scale.growing]
    for name, initial, rule in cases:
        effective, values, differing, looked, gram, svd = [], [], 0, 0, 0.0, 0.0

        def compare(model, *step, effective=effective, values=values):
            nonlocal differing, looked, gram, svd
            if model.steps % 5 == 0:
                gram += timed(by_gram, model.net.captured[1:])
                svd += timed(by_full_svd, model.net.captured[1:])
                for output in model.net.captured[1:]:
                    h = ranks.activation_matrix(output)
                    ours, exact = ranks.activation_singular_values(output), torch.linalg.svdvals(h.double())
                    effective.append(abs(ranks.effective_rank(ours) / ranks.effective_rank(exact) - 1))
                    values.append(float((ours - exact).abs().max() / exact[0]))
                    differing += ranks.numerical_rank(ours) != ranks.numerical_rank(exact)
                    looked += 1
            model.grow()

        training = growing((initial, ()), rule, x, y)
        training.after_step = compare
        training.run(scale.epochs)
        final = describe((training.model.net.widths, ()))
        errors = f"{max(values):.1e} | {max(effective):.1e} | {differing}"
        rows.append(f"| {name} | {final} | {looked} | {errors} | {svd / gram:.1f} |")
        print(rows[-1], flush=True)
    return rows


def describe(widths) -> str:
    conv, fc = ("-".join(map(str, w)) for w in widths)
    return f"{conv}, fully connected {fc}" if fc else conv


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cases, briefly; writes no table")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    scale = QUICK if quick else Scale()
    name, x, y = load(scale.images)

    start = time.perf_counter()
    same, same_medians = equal_widths(x, y, scale)
    whole, whole_medians = complete_runs(x, y, scale)
    triggers, ratios = trigger(x, y, scale)
    errors = accuracy(x, y, scale)
    minutes = (time.perf_counter() - start) / 60

    verdict = [
        f"- {what}: overhead of at most {MOST_OVERHEAD:.0%} wanted, largest {max(medians):+.1%}: "
        f"{'met' if max(medians) <= MOST_OVERHEAD else 'not met'}"
        for what, medians in (("equal widths", same_medians), ("complete runs", whole_medians))
    ]
    verdict.append(
        f"- trigger: at least {LEAST_SPEEDUP:g}x less time than with full SVDs wanted, smallest {min(ratios):.1f}x: "
        f"{'met' if min(ratios) >= LEAST_SPEEDUP else 'not met'}"
    )
    table = f"""# What growing costs

Written by `python -m benchmarks.growth` in {minutes:.1f} minutes: torch {torch.__version__.split("+")[0]},
one thread on a {os.cpu_count()}-core {platform.machine()} CPU. Data: {len(x):,} images of {name}, batches of 100, Adam.
Times are CPU seconds of the process: medians over {scale.repeats} alternating measurements, ratios pair by pair
(smallest to largest). Networks are named by the widths of their convolutions.

## (a) Training

At equal widths, milliseconds a step: ours measures the effective rank of every layer after every step, keeps the moving
averages and looks at the limit on parameters, without ever adding a neuron; static is the same network in torch's own
layers. Both run in the training core.

| network | ours, ms | static, ms | overhead |
|---|---|---|---|
{chr(10).join(same)}

Complete runs of {scale.epochs} epochs, in seconds: ours grows; static has the final size, in torch's own layers, from
the start. A network that is small at first can be faster than the one it becomes.

| growth | from | to | ours, s | static, s | overhead |
|---|---|---|---|---|---|
{chr(10).join(whole)}

## (b) The trigger

Effective ranks of all hidden layers from the activations of one batch, in milliseconds: by Gram matrices (ours), by a
full SVD (with singular vectors, single precision), and for information by an SVD without vectors.

| network | Gram matrices, ms | full SVD, ms | singular values only, ms | full SVD / ours |
|---|---|---|---|---|
{chr(10).join(triggers)}

## (c) Accuracy

In every fifth step of {scale.epochs} epochs: our singular values and ranks, from Gram matrices in single precision,
against an SVD in double precision of the same activations. Errors are the largest of all layers and steps: of a
singular value relative to the layer's largest one, and of the effective rank relative to itself; then the number of
matrices whose numerical rank (epsilon .1) differs. The last column is the ratio of the times of the two triggers of
(b), summed over these steps.

| training | final widths | matrices | singular values | effective rank | numerical rank differs | full SVD / ours |
|---|---|---|---|---|---|---|
{chr(10).join(errors)}

## Verdict

{chr(10).join(verdict)}
"""
    print("\n".join(verdict))
    if not quick:
        TABLE.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
