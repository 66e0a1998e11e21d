"""The detector families by the name that `--detector` takes."""

from collections.abc import Callable, Mapping, Sequence

from export.autoencoder import Autoencoder
from export.detector import Detector
from export.training_config import TrainingConfig

Family = Callable[[TrainingConfig, Sequence[str]], Detector]
"""The settings and the features' names become an untrained detector."""


def _autoencoder(config: TrainingConfig, features: Sequence[str]) -> Detector:
    return Autoencoder(
        window=config.window,
        features=features,
        bottleneck=config.bottleneck,
        hidden=config.hidden,
        epochs=config.epochs,
        seed=config.seed,
    )


FAMILIES: Mapping[str, Family] = {"ae": _autoencoder}
