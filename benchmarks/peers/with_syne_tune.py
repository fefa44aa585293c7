"""Syne Tune (Salinas et al., AutoML 2022): its schedulers' `suggest`, `on_trial_add`, `on_trial_result`."""

import logging
from datetime import datetime
from typing import Any

from benchmarks.peers.base import Peer, decoded, parameters, rungs, seed_everything
from jahslib.core.problem import Configuration
from jahslib.core.trials import Trial


class SyneTuneASHA(Peer):
    """ASHA of the stopping kind, Syne Tune's only one. A trial reports where it may be stopped: at the rungs."""

    package = "syne-tune"
    scheduler = "ASHA"
    many_fidelities = True

    def begin(self) -> None:
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        seed_everything(self.seed)  # brackets are drawn from NumPy's
        self.tuner = getattr(baselines, self.scheduler)(
            self.space(),
            metric="cost",
            time_attr="epoch",
            max_t=self.problem.fidelity.high,
            grace_period=self.problem.fidelity.low,
            random_seed=self.seed,
        )
        self.running: tuple[Any, Configuration, list[float]] | None = None
        self.added = 0

    def space(self) -> dict[str, Any]:
        from syne_tune import config_space

        made = {}
        for p in parameters(self.problem.space):
            if p.kind == "choice":
                made[p.name] = config_space.choice(list(range(int(p.upper) + 1)))
            else:
                kind = {"float": ("uniform", "loguniform"), "int": ("randint", "lograndint")}[p.kind][p.log]
                made[p.name] = getattr(config_space, kind)(*p.bounds)
        return made

    def suggest(self) -> tuple[Configuration, float] | None:
        if self.running is None:
            from syne_tune.backend.trial_status import Trial as Started

            if (suggestion := self.tuner.suggest()) is None:
                return None
            started = Started(self.added, suggestion.config, datetime.now())
            self.added += 1
            self.tuner.on_trial_add(started)
            configuration = decoded(self.problem.space, suggestion.config)
            self.running = started, configuration, rungs(self.problem.fidelity)
        return self.running[1], self.running[2][0]

    def tell(self, trial: Trial) -> None:
        assert self.running is not None
        started, _, left = self.running
        del left[0]
        if trial.status in ("failed", "cut"):
            self.tuner.on_trial_error(started)
            self.running = None
            return
        decision = self.tuner.on_trial_result(started, {"cost": self.cost(trial), "epoch": trial.fidelity})
        if decision == "STOP" or not left:
            self.tuner.on_trial_remove(started)
            self.running = None


class SyneTuneBOHB(SyneTuneASHA):
    """ASHA with configurations from kernel density estimators (after Falkner et al., ICML 2018)."""

    scheduler = "BOHB"
