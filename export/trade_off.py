"""A manifest's hyperparameters in, the error on held-back windows by bottleneck out, where a training tried several."""

from collections.abc import Mapping

from pydantic import JsonValue

TRADE_OFF = "trade_off"
"""Under this name they hold it: a list of [bottleneck, validation error]."""


def trade_off(hyperparameters: Mapping[str, JsonValue]) -> list[tuple[int, float]]:
    """By rising bottleneck; [] where there is none. What is no such pair is left out: others may write there too."""
    written = hyperparameters.get(TRADE_OFF)
    pairs = [pair for pair in written if isinstance(pair, list) and len(pair) == 2] if isinstance(written, list) else []
    return sorted(
        (size, float(error)) for size, error in pairs if isinstance(size, int) and isinstance(error, int | float)
    )
