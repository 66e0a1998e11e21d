"""From Kafka records to anomaly scores on Kafka: one batch of columns at a time, exactly once."""
