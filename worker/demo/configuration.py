"""The worker's settings file as the demo writes it: short, and commented for whoever opens it."""

from worker.demo.machines import ENTITY_COLUMN, TIME_COLUMN

INPUT_TOPIC = "machine-events"
OUTPUT_TOPIC = "machine-scores"
DEAD_LETTER_TOPIC = "machine-dead-letters"
TOPICS = (INPUT_TOPIC, OUTPUT_TOPIC, DEAD_LETTER_TOPIC)

AT_LEAST_ONCE = "at-least-once"
EXACTLY_ONCE = "exactly-once"

_WHY = {
    AT_LEAST_ONCE: "the embedded cluster stores no offsets within transactions; on a real broker: exactly-once",
    EXACTLY_ONCE: "scores and offsets are committed together or not at all",
}


def worker_yaml(*, model: str, bootstrap: str, delivery: str, http_port: int) -> str:
    """The text of worker.yaml. `model` is a path as seen from where the worker runs."""
    return f"""\
# Written by the demo. examples/worker.yaml explains every setting.
model: {{uri: {model}}}
kafka:
  bootstrap_servers: {bootstrap}
  group_id: machine-anomalies
  input_topics: [{INPUT_TOPIC}]
  output_topic: {OUTPUT_TOPIC}
  dead_letter_topic: {DEAD_LETTER_TOPIC}
events:
  entity: {ENTITY_COLUMN}
  timestamp: {TIME_COLUMN}
  timestamp_unit: iso8601
delivery: {delivery}  # {_WHY[delivery]}
start: earliest
explain: {{when: all, top: 3}}  # the report also tells what was missed, and why
inference: {{provider: cpu}}
http: {{port: {http_port}, page: true}}
log: {{format: text}}
"""
