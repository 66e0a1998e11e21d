"""Windows of normal operation in, the knobs that make the most of them out: what `train --search N` does.

No labels: a trial is as good as its detector removes a noise, always the same, from held-back windows. To rebuild a
window as it is would reward the widest network, which rebuilds anomalies too; a noise is removed only by what knows
what is normal (Vincent et al., ICML 2008). Trials are proposed by tree-structured Parzen estimators (Bergstra et al.,
Algorithms for Hyper-Parameter Optimization, NeurIPS 2011), and kept in a file that a later search goes on from.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from export.errors import ExportError, UsageError
from export.families import Family, make_detector, usual_noise
from export.learning import ROUND_WINDOWS
from export.rebuilder import Rebuilder
from export.reconstruction import denoising_error
from export.report import SearchReport
from export.trade_off import TRADE_OFF
from export.training_config import TrainingConfig
from export.view import Viewed
from export.windows import Parts

SEARCH = "search"
"""Under this name a manifest's hyperparameters tell what a search came to."""

OnTrial = Callable[[int, int, float], None]
"""Told after each trial: trials done, trials planned, the lowest error so far."""

_WIDEST = 256  # bottleneck, where a family sets no bounds
_DEEPEST = 3
_RANGES: Mapping[str, BaseDistribution] = {
    "noise": FloatDistribution(0.1, 4.0, log=True),
    "sparsity": FloatDistribution(0.02, 0.5, log=True),
    "dropout": FloatDistribution(0.01, 0.3, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
}
_OF_NO_TRIAL = (
    "data",
    "label",
    "output",
    "name",
    "version",
    "search",
    "alarm_rate",
    "alerts_per_day",
    "events_per_day",
)
"""Settings that no trial depends on; the data are told by their digest."""
_POWER = "bottleneck is 2 to the"  # as the study names it: sizes between powers of 2 tell nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The settings with the best knobs, and what is told of the search."""

    config: TrainingConfig
    report: SearchReport

    @property
    def hyperparameters(self) -> dict[str, JsonValue]:
        """For the manifest."""
        report = self.report
        told: JsonValue = {
            "trials": report.trials,
            "error": round(report.error, 6),
            "error_of_defaults": round(report.error_of_defaults, 6),
        }
        points: list[JsonValue] = [[size, round(error, 6)] for size, error in report.trade_off]
        return {SEARCH: told, **({TRADE_OFF: points} if points else {})}


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a set of knobs came to."""

    error: float
    bottleneck: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is to be searched: the family's knobs that the user left alone, but for how long it trains."""

    config: TrainingConfig
    features: Sequence[str]
    families: Mapping[str, Family]
    ranges: Mapping[str, BaseDistribution]

    @classmethod
    def of(cls, config: TrainingConfig, features: Sequence[str], families: Mapping[str, Family]) -> Self:
        """Raises UsageError where there is no such knob."""
        _rebuilder(config, features, families)
        ranges = _ranges(config, families[config.detector], inputs=config.window_rows * len(features))
        if not ranges:
            raise UsageError(
                f"--search finds every knob of --detector {config.detector} turned already: leave one of them out."
            )
        return cls(config=config, features=features, families=families, ranges=ranges)

    def search(self, parts: Parts, *, data_sha256: str, on_trial: OnTrial) -> Found:
        """Tries `config.search` sets of knobs beside the defaults.

        Equal data, settings, seed and thread count give equal trials, whether a search was interrupted or not.
        Raises ExportError where the study cannot be kept.
        """
        planned = self.config.search or 0
        usual = self._tried({}, parts)
        study = self._study(data_sha256)
        done = _trials(study, planned)
        while len(done) < planned:
            study.sampler = _sampler(self.config.seed, len(done))
            trial = study.ask(dict(self.ranges))
            tried = self._tried(_knobs(trial.params), parts)
            trial.set_user_attr("bottleneck", tried.bottleneck)
            study.tell(trial, tried.error)
            done = _trials(study, planned)
            on_trial(len(done), planned, min(usual.error, *(_told(each).error for each in done)))
        best = min(done, key=lambda each: _told(each).error)
        knobs = _knobs(best.params) if _told(best).error < usual.error else {}
        return Found(
            config=self.config.model_copy(update=knobs),
            report=SearchReport(
                trials=planned,
                error_of_defaults=usual.error,
                error=min(_told(best).error, usual.error),
                knobs=knobs,
                trade_off=_trade_off([usual, *map(_told, done)]),
                study=study_path(self.config.output),
            ),
        )

    def _tried(self, knobs: Mapping[str, int | float], parts: Parts) -> _Tried:
        detector = _rebuilder(self.config.model_copy(update=knobs), self.features, self.families)
        module, _ = detector.taught(
            parts.training, parts.validation, training_rows=parts.training_rows, on_epoch=_silently
        )
        held_back = parts.validation.spread(ROUND_WINDOWS)
        size = detector.hyperparameters.get("bottleneck")
        return _Tried(
            error=denoising_error(module, held_back, noise=usual_noise(self.config)),
            bottleneck=size if isinstance(size, int) else None,
        )

    def _study(self, data_sha256: str) -> optuna.Study:
        """The one of these data and settings: begun, or gone on from."""
        optuna.logging.disable_default_handler()  # the bar tells how far it is
        path = study_path(self.config.output)
        settings = self.config.model_dump(mode="json", exclude=set(_OF_NO_TRIAL))
        identity = json.dumps([data_sha256, settings], sort_keys=True)
        try:
            return optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=f"{self.config.detector} {hashlib.sha256(identity.encode()).hexdigest()[:12]}",
                load_if_exists=True,
            )
        except (OSError, ValueError) as error:
            raise ExportError(f"{path} cannot keep the study of --search ({error}): move it away.") from error


def study_path(output: Path) -> Path:
    """Where the study is kept: beside the output."""
    return output.with_suffix(".study.jsonl")


def _rebuilder(config: TrainingConfig, features: Sequence[str], families: Mapping[str, Family]) -> Rebuilder:
    detector = make_detector(config, features, families)
    if isinstance(detector, Viewed):
        raise UsageError("--search cannot turn knobs behind --kind log or --derive: leave out, or give --derive none.")
    if not isinstance(detector, Rebuilder):
        raise UsageError(
            f"--search turns the knobs of one family, and {config.detector} is of several: name one, such "
            "as --detector dae."
        )
    return detector


def _silently(done: int, planned: int, error: float) -> None:
    """A trial counts as a whole."""


def _ranges(config: TrainingConfig, family: Family, *, inputs: int) -> dict[str, BaseDistribution]:
    window = config.window_rows
    free = {knob for knob in family.knobs if getattr(config, knob) is None}
    ranges = {knob: of for knob, of in _RANGES.items() if knob in free}
    if "bottleneck" in free:
        least, most = family.bottlenecks or (1, min(_WIDEST, inputs // 2))
        ranges[_POWER] = IntDistribution(least.bit_length() - 1, most.bit_length() - 1)
    if "depth" in free and config.hidden is None:
        ranges["depth"] = IntDistribution(1, _DEEPEST if window == 1 else min(_DEEPEST, window.bit_length() - 1))
    return ranges


def _knobs(proposed: Mapping[str, int | float]) -> dict[str, int | float]:
    """As the options of `train` name them."""
    knobs = {name: value for name, value in proposed.items() if name != _POWER}
    return {**knobs, "bottleneck": 2 ** int(proposed[_POWER])} if _POWER in proposed else knobs


def _trials(study: optuna.Study, planned: int) -> list[FrozenTrial]:
    """Those that are done, in order, no more than planned: one that was interrupted is none."""
    return study.get_trials(states=(TrialState.COMPLETE,))[:planned]


def _sampler(seed: int, place: int) -> optuna.samplers.BaseSampler:
    """Drawn anew for each trial, so that a search that goes on draws what an uninterrupted one would have drawn."""
    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence((seed, place)).generate_state(1)[0]))


def _told(trial: FrozenTrial) -> _Tried:
    return _Tried(error=trial.values[0], bottleneck=trial.user_attrs["bottleneck"])


def _trade_off(tried: Sequence[_Tried]) -> tuple[tuple[int, float], ...]:
    """The lowest error by bottleneck, the narrowest first; () where only one was tried."""
    lowest: dict[int, float] = {}
    for each in tried:
        if each.bottleneck is not None:
            lowest[each.bottleneck] = min(each.error, lowest.get(each.bottleneck, each.error))
    return tuple(sorted(lowest.items())) if len(lowest) > 1 else ()
