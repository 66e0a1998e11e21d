"""From Kafka records to anomaly scores on Kafka: one batch of columns at a time, exactly once."""

import os

# ONNX Runtime would tell its makers of each process, from the moment on that it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
