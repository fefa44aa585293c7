"""`python -m jahslib final`: study 06's final training alone, as in the original's scripts."""

from collections.abc import Sequence

from jahslib.cli.commands import Parser
from jahslib.experiments.notebook import experiment


def main(argv: Sequence[str]) -> None:
    """Train or test, and print the training's folder and its test accuracy by epoch."""
    parser = Parser(
        "python -m jahslib final", description="Train a network with snapshots, or test one by id and epoch."
    )
    add = parser.add_argument
    add("task", choices=("train", "test"))
    add("-c", "--cfg", metavar="FILE", help="a YAML file of settings, such as an ID_cfg.yml or one of the original's")
    add("-s", "--set", nargs="+", metavar="KEY VALUE", help="single ones, above the file: --set LR 0.01 NUM_EPOCH 5")
    add("-d", "--dataset-dir", metavar="FOLDER", help="holds the data sets")
    add("-e", "--experiment-dir", metavar="FOLDER", help="receives snapshots (default: in the profile's results)")
    add("-i", "--pre-trained-id", metavar="ID", help="continue, or test, this training")
    add("-p", "--pre-trained-epoch", type=int, metavar="EPOCH", help="from, or at, this snapshot")
    add("-u", "--use-gpu", type=int, choices=(0, 1), help="1: train on CUDA (default: if there is one)")
    add("-g", "--gpu-id", type=int, metavar="N")
    add("--profile", default="smoke", help="smoke, cpu or paper, for what is not given (default: smoke)")
    given = vars(parser.parse_args(argv))
    task = given.pop("task")
    found = experiment("06_ax_bo", given | {"methods": ["rs"]})  # none is run; planning Ax would import it
    trained = found.final.train(found.DEFAULT | found.setting) if task == "train" else found.final.test()
    print(trained.place)
    for epoch, measured in trained.tested.items():
        print(f"epoch {epoch}: test accuracy {measured['top1']:.4f}")
