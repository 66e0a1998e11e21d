"""The page `/` as Chromium shows it, from a worker's port: light and dark, on a desktop and on a phone.

A command of its own (`make test-page`), for it needs Chromium. The pictures stay in `.cache/page`, to be looked at.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from tests.worker.test_overview import ABOUT, ALARM, LATELY
from worker.overview import Overview
from worker.probes import Health, Page, Probes
from worker.recently import Alarm, Contribution

PICTURES = Path(__file__).parents[2] / ".cache" / "page"
SIZES = {"desktop": (1280, 1100), "phone": (390, 1400)}
SCHEMES = {"light": 1, "dark": 0}
_QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]

LONG_NAMED = Alarm("a machine whose name is longer than any " * 3, ALARM.event_time, 12.5, ALARM.contributions)
UNKNOWN = Alarm("user-99312", ALARM.event_time, 1.02, (Contribution("cpu_r", 0.92, None, 0.2),))


@pytest.fixture
def address() -> Iterator[str]:
    health = Health()
    health.turned(ready=True)
    lately = replace(LATELY, alarms=(ALARM, LONG_NAMED, UNKNOWN, Alarm("press-8", 0, 1.3, ())))
    overview = Overview(ABOUT, health, lambda: lately)

    def without_reload() -> Page:
        """A picture is taken once a page has come to rest."""
        page = overview()
        return replace(page, html=page.html.replace('<meta http-equiv="refresh" content="5">', ""))

    probes = Probes(health, bytes, render_page=without_reload, host="127.0.0.1", port=0)
    probes.start()
    yield f"http://127.0.0.1:{probes.port}/"
    probes.close()


def shown(address: str, name: str, size: tuple[int, int], *options: str) -> tuple[NDArray[np.float32], str]:
    """The picture, and what the browser said; the options tell where its profile is."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / f"{name}.png"
    window = f"--window-size={size[0]},{size[1]}"
    command = ["chromium", *_QUIET, window, *options, f"--screenshot={picture}", address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return imread(picture)[..., :3], done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_shown(address: str, size: str, scheme: str, tmp_path: Path) -> None:
    preference = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
    picture, said = shown(address, f"{size}-{scheme}", SIZES[size], preference, f"--user-data-dir={tmp_path}")
    assert "Refused to" not in said, "its own policy forbids a part of it"
    assert "Content Security Policy" not in said
    paper, ink = picture[2, 2].mean(), picture.mean()
    assert (paper > 0.9) == (scheme == "light"), "the scheme's paper"
    assert abs(paper - ink) < 0.3
    orange = (picture[..., 0] - picture[..., 2] > 0.35).sum()
    assert orange > 1000, "the bars have their colour: the style was applied"
    assert (picture[:, -8:] == picture[2, 2]).all(), "nothing runs out of the window at its right"
