"""The detector families by the name that `--detector` takes, and which options mean something to each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from export.autoencoder import Perceptron, denoising_sizes, layer_sizes, refuse_both
from export.convolutional import ConvolutionalAutoencoder, channel_sizes
from export.derived_inputs import DerivedInputs, derived_names, least_divisors
from export.detector import Detector
from export.ensemble import Ensemble, Member
from export.errors import UsageError
from export.learning import WEIGHT_DECAY, Lessons
from export.pca import PrincipalModule
from export.picture import PictureAutoencoder, PictureModule, picture_channels, picture_shape
from export.prototypes import MOST, PrototypeModule
from export.rebuilder import Build, Rebuilder
from export.reconstruction import Frame, ReconstructionModule, bottleneck_size
from export.recurrent import RecurrentAutoencoder
from export.sparse import SHARE, SparseAutoencoder, code_size
from export.template_counts import TemplateCounts, templates_of
from export.training_config import KNOBS, TrainingConfig
from export.variational import VariationalAutoencoder, VariationalModule
from export.view import Viewed

Make = Callable[[TrainingConfig, Sequence[str]], Detector]
"""The settings, their window chosen, and the features' names become an untrained detector."""

_OF_LOGS = "ae"  # what `auto` means for counts of templates
_LOG_LAYERS = (256, 64)  # counts are few, but which of them go together has many exceptions
_WINDOW_NOISE, _EVENT_NOISE = 0.5, 2.0  # largest standard deviation of the noise, in z-scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How a family's detector is made, and which of the knobs it has."""

    make: Make
    knobs: frozenset[str] = frozenset()
    bottlenecks: tuple[int, int] | None = None
    """The narrowest and the widest worth trying; None = whatever is narrower than the inputs."""


def make_detector(config: TrainingConfig, features: Sequence[str], families: Mapping[str, Family]) -> Detector:
    """The untrained detector that these settings ask for.

    Raises:
        UsageError: there is no such family, it lacks a knob that was turned, or a size fits nothing, that of a
            picture included.
    """
    if config.kind == "log" and config.detector == "auto":
        config = config.model_copy(update={"detector": _OF_LOGS})
    family = families[config.detector]
    refuse_both(hidden=config.hidden, depth=config.depth)
    if config.image_shape is not None:
        picture_shape(len(features), config.image_shape)
    for knob in KNOBS:
        if getattr(config, knob) is not None and knob not in family.knobs:
            having = [name for name, other in families.items() if knob in other.knobs]
            raise UsageError(
                f"--{knob.replace('_', '-')} means nothing to --detector {config.detector}: leave it out"
                f"{f', or take {either(having)}' if having else ''}."
            )
    return _behind_view(config, features, family) or family.make(config, features)


def _behind_view(config: TrainingConfig, features: Sequence[str], family: Family) -> Detector | None:
    """The same family, but shown what is made of a window, where the settings ask for it."""
    alone = config.model_copy(update={"window": 1})
    if config.kind == "log":
        return Viewed(
            family=config.detector,
            view=lambda rows: TemplateCounts(templates_of(rows)),
            detector=lambda names: family.make(alone, names),
            hyperparameters=lambda view: {"templates": len(view.names) - 1},
        )
    if config.derivations:
        return Viewed(
            family=family.make(alone, derived_names(features, config.derivations)).family,
            view=lambda rows: DerivedInputs(features, config.derivations, least_divisors(rows)),
            detector=lambda names: family.make(alone, names),
            hyperparameters=lambda view: {"derived": list(view.names[len(features) :])},
        )
    return None


def either(names: Iterable[str]) -> str:
    """The names with "or" before the last."""
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last


def _rebuilder(
    config: TrainingConfig, features: Sequence[str], family: str, build: Build, **told: JsonValue
) -> Rebuilder:
    return Rebuilder(
        family=family,
        window=config.window_rows,
        features=features,
        build=build,
        hyperparameters=told,
        seed=config.seed,
        channels=config.channels,
    )


def _lessons(config: TrainingConfig, noise: float = 0.0) -> Lessons:
    return Lessons(
        epochs=config.epochs,
        noise=noise if config.noise is None else config.noise,
        weight_decay=WEIGHT_DECAY if config.weight_decay is None else config.weight_decay,
        seed=config.seed,
    )


def _sizes(config: TrainingConfig, features: Sequence[str]) -> Sequence[int]:
    """Of the encoder's layers."""
    return layer_sizes(
        _inputs(config, features),
        _side_by_side(config, features),
        usual=_LOG_LAYERS if config.kind == "log" else (),
        hidden=config.hidden,
        depth=config.depth,
        bottleneck=config.bottleneck,
    )


def _autoencoder(config: TrainingConfig, features: Sequence[str]) -> Detector:
    sizes = _sizes(config, features)
    return _perceptron("ae", config, features, sizes, _lessons(config))


def _denoising(config: TrainingConfig, features: Sequence[str]) -> Detector:
    sizes = denoising_sizes(
        _inputs(config, features),
        window=config.window_rows,
        hidden=config.hidden,
        depth=config.depth,
        bottleneck=config.bottleneck,
    )
    return _perceptron("dae", config, features, sizes, _lessons(config, usual_noise(config)))


def _perceptron(
    family: str, config: TrainingConfig, features: Sequence[str], sizes: Sequence[int], lessons: Lessons
) -> Detector:
    # A network without a bottleneck rebuilds some features almost exactly: in units of so small an error they would
    # drown the others.
    wide = family == "dae"

    def build(frame: Frame) -> ReconstructionModule:
        network = Perceptron(sizes, dropout=config.dropout or 0.0)
        return ReconstructionModule(network, frame, lessons, alike=wide)

    return _rebuilder(config, features, family, build, hidden=list(sizes[1:-1]), bottleneck=sizes[-1], **_told(lessons))


def _sparse(config: TrainingConfig, features: Sequence[str]) -> Detector:
    code = code_size(_inputs(config, features), config.bottleneck)
    active = max(1, round(code * (SHARE if config.sparsity is None else config.sparsity)))
    lessons = _lessons(config)

    def build(frame: Frame) -> ReconstructionModule:
        network = SparseAutoencoder(inputs=frame.inputs, code=code, active=active, dropout=config.dropout or 0.0)
        return ReconstructionModule(network, frame, lessons)

    return _rebuilder(config, features, "sparse-ae", build, code=code, active=active, **_told(lessons))


def _convolutional(config: TrainingConfig, features: Sequence[str]) -> Detector:
    return (_over_sides if config.event_kind == "image" else _over_time)(config, features)


def _over_sides(config: TrainingConfig, features: Sequence[str]) -> Detector:
    shape = picture_shape(len(features), config.image_shape)
    channels = picture_channels(shape, depth=config.depth, hidden=config.hidden, bottleneck=config.bottleneck)
    lessons = _lessons(config, usual_noise(config))

    def build(frame: Frame) -> ReconstructionModule:
        network = PictureAutoencoder(shape, channels=channels, dropout=config.dropout or 0.0)
        return PictureModule(network, frame, lessons)

    return _rebuilder(
        config, features, "conv-ae", build, picture=list(shape), channels=list(channels), **_told(lessons)
    )


def _over_time(config: TrainingConfig, features: Sequence[str]) -> Detector:
    channels = channel_sizes(
        config.window_rows, len(features), depth=config.depth, hidden=config.hidden, bottleneck=config.bottleneck
    )
    lessons = _lessons(config, usual_noise(config))

    def build(frame: Frame) -> ReconstructionModule:
        network = ConvolutionalAutoencoder(
            window=frame.window, features=frame.features, channels=channels, dropout=config.dropout or 0.0
        )
        return ReconstructionModule(network, frame, lessons)

    return _rebuilder(config, features, "conv-ae", build, channels=list(channels), **_told(lessons))


def _recurrent(config: TrainingConfig, features: Sequence[str]) -> Detector:
    if config.window_rows == 1:
        raise UsageError(
            "--detector gru-ae reads rows in their order: give --window 2 or more of --kind sensor, or another family."
        )
    code = bottleneck_size(_inputs(config, features), len(features), config.bottleneck)
    depth = config.depth or 1
    lessons = _lessons(config)

    def build(frame: Frame) -> ReconstructionModule:
        network = RecurrentAutoencoder(
            window=frame.window, features=frame.features, code=code, depth=depth, dropout=config.dropout or 0.0
        )
        return ReconstructionModule(network, frame, lessons)

    return _rebuilder(config, features, "gru-ae", build, bottleneck=code, depth=depth, **_told(lessons))


def _variational(config: TrainingConfig, features: Sequence[str]) -> Detector:
    sizes = _sizes(config, features)
    lessons = _lessons(config)

    def build(frame: Frame) -> ReconstructionModule:
        return VariationalModule(VariationalAutoencoder(sizes, dropout=config.dropout or 0.0), frame, lessons)

    return _rebuilder(config, features, "vae", build, hidden=list(sizes[1:-1]), bottleneck=sizes[-1], **_told(lessons))


def _principal_components(config: TrainingConfig, features: Sequence[str]) -> Detector:
    components = bottleneck_size(_inputs(config, features), _side_by_side(config, features), config.bottleneck)

    def build(frame: Frame) -> ReconstructionModule:
        return PrincipalModule(frame, Lessons(seed=config.seed), components=components)

    return _rebuilder(config, features, "pca", build, bottleneck=components)


def _prototypes(config: TrainingConfig, features: Sequence[str]) -> Detector:
    count = config.bottleneck or MOST

    def build(frame: Frame) -> ReconstructionModule:
        return PrototypeModule(frame, Lessons(seed=config.seed), count=count)

    return _rebuilder(config, features, "prototypes", build)


def _recommended(config: TrainingConfig, features: Sequence[str]) -> Detector:
    """What is best by measurement: docs/quality.md tells on what, and by how much."""
    whole = config.window_rows
    if _is_one_number(config, features):
        return _prototypes(config, features)  # there is nothing to rebuild it from
    if config.event_kind == "image":
        return _ensemble(config, features, [(_convolutional, whole), (_prototypes, whole)])
    members = [(_denoising, whole), (_prototypes, whole)]
    if len(features) == 1 and whole > 1:
        members.append((_convolutional, whole))
    return _ensemble(config, features, members)


def _ensemble(config: TrainingConfig, features: Sequence[str], members: Sequence[tuple[Make, int]]) -> Detector:
    """Of families, each with the number of newest rows that it looks at."""
    return Ensemble(
        members=[
            Member(detector=make(config.model_copy(update={"window": rows}), features), rows=rows)
            for make, rows in members
        ]
    )


def _inputs(config: TrainingConfig, features: Sequence[str]) -> int:
    return config.window_rows * len(features)


def _is_one_number(config: TrainingConfig, features: Sequence[str]) -> bool:
    """Whether that is all an event shows of itself: no other row, and nothing that is derived of it."""
    return _inputs(config, features) == 1 and config.kind != "log" and not config.derivations


def _side_by_side(config: TrainingConfig, features: Sequence[str]) -> int:
    """Values that belong to one place: the features of a row, the channels of a pixel."""
    return config.channels or len(features)


def usual_noise(config: TrainingConfig) -> float:
    """The largest standard deviation, in z-scores, unless told otherwise."""
    return _EVENT_NOISE if config.window_rows == 1 else _WINDOW_NOISE


def _told(lessons: Lessons) -> dict[str, JsonValue]:
    return {"noise": lessons.noise, "weight_decay": lessons.weight_decay}


_NOT_COMPARED = frozenset({"pca", "prototypes"})
"""Families for which the error of PCA is no yardstick: itself, and one that does not live by rebuilding."""


def baseline(config: TrainingConfig, features: Sequence[str]) -> Detector | None:
    """What a detector trained by these settings must beat to be worth its while; None where there is no such thing."""
    if config.detector in _NOT_COMPARED or _is_one_number(config, features):
        return None
    plain = Family(make=_yardstick)
    return _behind_view(config, features, plain) or plain.make(config, features)


def _yardstick(config: TrainingConfig, features: Sequence[str]) -> Detector:
    if config.bottleneck is not None and config.bottleneck >= _inputs(config, features):
        config = config.model_copy(update={"bottleneck": None})  # of a family whose code may be wide
    return _principal_components(config, features)


_BY_STEPS = frozenset({"epochs", "weight_decay"})
_LAYERED = _BY_STEPS | {"bottleneck", "hidden", "depth", "dropout"}

FAMILIES: Mapping[str, Family] = {
    "auto": Family(make=_recommended, knobs=_BY_STEPS),
    "ae": Family(make=_autoencoder, knobs=_LAYERED),
    "dae": Family(make=_denoising, knobs=_LAYERED | {"noise"}, bottlenecks=(16, 512)),
    "vae": Family(make=_variational, knobs=_LAYERED),
    "sparse-ae": Family(make=_sparse, knobs=_BY_STEPS | {"bottleneck", "sparsity", "dropout"}, bottlenecks=(16, 1024)),
    "conv-ae": Family(make=_convolutional, knobs=_LAYERED | {"noise"}, bottlenecks=(4, 64)),
    "gru-ae": Family(make=_recurrent, knobs=_BY_STEPS | {"bottleneck", "depth", "dropout"}),
    "pca": Family(make=_principal_components, knobs=frozenset({"bottleneck"})),
    "prototypes": Family(make=_prototypes, knobs=frozenset({"bottleneck"}), bottlenecks=(16, MOST)),
}
