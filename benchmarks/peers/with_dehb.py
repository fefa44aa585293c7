"""DEHB (Awad, Mallik and Hutter, IJCAI 2021): `ask` and `tell`."""

import copy
import tempfile

from benchmarks.peers.base import Peer
from jahslib.core.problem import Configuration
from jahslib.core.trials import Trial
from jahslib.spaces import configurations as spaces


class Dehb(Peer):
    """Differential evolution in Hyperband's brackets. A fidelity that DEHB asks for is rounded up to whole epochs and
    told back as it was asked."""

    package = "dehb"
    many_fidelities = True

    def begin(self) -> None:
        from dehb import DEHB

        self._folder = tempfile.TemporaryDirectory(prefix="peers-dehb-")
        self.dehb = DEHB(
            cs=copy.deepcopy(self.problem.space),  # DEHB seeds it
            min_fidelity=self.problem.fidelity.low,
            max_fidelity=self.problem.fidelity.high,
            n_workers=1,
            seed=self.seed,
            output_path=self._folder.name,
            log_level="ERROR",
        )

    def suggest(self) -> tuple[Configuration, float] | None:
        self.job = self.dehb.ask()
        return spaces.plain(self.job["config"]), float(self.job["fidelity"])

    def tell(self, trial: Trial) -> None:
        self.dehb.tell(self.job, {"fitness": self.cost(trial), "cost": trial.epochs})
