"""Writes the suite's file of handwritten digits, `digits_public.npz`, from what scikit-learn holds.

    python -m tests.benchmarks.digits DIR [SHARE]

It needs scikit-learn, which this project does not install: `pip install scikit-learn` where the command is run. The
pictures are 8 x 8 of 0 to 16 (the test part of Optical Recognition of Handwritten Digits, UCI). Which half of a digit
trains (or what SHARE of it) is drawn, always alike. The noise is normal, of a quarter of the whole range; the filter is
scipy's, over 3 x 3 pixels, and knows how strong the noise is, which the detectors do not.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.signal import wiener
from sklearn.datasets import load_digits

NOISE = 4.0


def main(folder: Path, share: float = 0.5) -> None:
    """Writes the file: picture, noisy and wiener (n, 64) in grey levels, digit and is_training (n,)."""
    digits = load_digits()
    chance = np.random.default_rng(0)
    is_training = np.zeros(len(digits.target), dtype=np.bool_)
    for digit in range(10):
        own = chance.permutation(np.flatnonzero(digits.target == digit))
        is_training[own[: int(len(own) * share)]] = True
    noisy = digits.data + chance.normal(0, NOISE, digits.data.shape)
    filtered = np.stack([wiener(picture, 3, noise=NOISE**2) for picture in noisy.reshape(-1, 8, 8)])
    np.savez_compressed(
        folder / "digits_public.npz",
        picture=digits.data.astype(np.float32),
        digit=digits.target.astype(np.float32),
        is_training=is_training,
        noisy=noisy.astype(np.float32),
        wiener=filtered.reshape(len(noisy), -1).astype(np.float32),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
