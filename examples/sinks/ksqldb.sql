-- Scores in ksqlDB. The server must be started with ksql.streams.consumer.isolation.level=read_committed:
-- else it reads scores of aborted transactions, too.

CREATE STREAM scores (
  schema_version INT,
  id VARCHAR,
  entity VARCHAR,
  event_time BIGINT,
  score DOUBLE,
  p_value DOUBLE,
  threshold DOUBLE,
  is_anomaly BOOLEAN,
  warming BOOLEAN,
  missing INT,
  top_feature VARCHAR,
  contributions ARRAY<STRUCT<feature VARCHAR, share DOUBLE, `value` DOUBLE, expected DOUBLE, rows_ago INT>>,
  context VARCHAR,
  model STRUCT<name VARCHAR, version VARCHAR, sha256 VARCHAR>,
  `window` STRUCT<first_offset BIGINT, length INT, truncated BOOLEAN, digest VARCHAR>,
  source STRUCT<topic VARCHAR, `partition` INT, `offset` BIGINT>
) WITH (
  KAFKA_TOPIC = 'machine-scores',
  VALUE_FORMAT = 'JSON',
  TIMESTAMP = 'event_time'
);

-- What the alarms are blamed on: a row for each contribution.
CREATE STREAM blamed AS
SELECT entity, score, EXPLODE(contributions) AS contribution
FROM scores
WHERE is_anomaly
EMIT CHANGES;
