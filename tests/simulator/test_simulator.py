"""Five thousand schedules of whatever may befall workers and brokers: each record is answered once, and rightly."""

import json

import pytest

from tests.simulator.__main__ import PORTION, main, run_portion
from tests.simulator.machine import Simulation
from tests.simulator.trace import minimal, replayed, trace_of
from tests.simulator.world import Terms, World

PORTIONS = 10  # of 500 schedules each
