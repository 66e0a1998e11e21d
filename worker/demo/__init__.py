"""The demo: real machine data through training, a worker and a topic, ending in a picture that counts honestly."""

from worker.demo.journey import main

__all__ = ["main"]
