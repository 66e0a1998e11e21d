"""The detector families by the name that `--detector` takes."""

from collections.abc import Callable, Mapping, Sequence

from export.autoencoder import Autoencoder
from export.detector import Detector
from export.pca import PrincipalComponents, refuse_what_pca_has_not
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


def _principal_components(config: TrainingConfig, features: Sequence[str]) -> Detector:
    refuse_what_pca_has_not(hidden=config.hidden, epochs=config.epochs)
    return baseline(config, features)


def baseline(config: TrainingConfig, features: Sequence[str]) -> Detector:
    """What a detector trained by these settings must beat to be worth its while."""
    return PrincipalComponents(window=config.window, features=features, bottleneck=config.bottleneck, seed=config.seed)


FAMILIES: Mapping[str, Family] = {"ae": _autoencoder, "pca": _principal_components}
