-- Scores in Flink SQL. The isolation level is not Flink's default: without it, scores of aborted transactions are read, too.

CREATE TABLE scores (
  schema_version INT,
  id STRING,
  entity STRING,
  event_time BIGINT,
  score DOUBLE,
  p_value DOUBLE,
  threshold DOUBLE,
  is_anomaly BOOLEAN,
  warming BOOLEAN,
  missing INT,
  top_feature STRING,
  contributions ARRAY<ROW<feature STRING, share DOUBLE, `value` DOUBLE, expected DOUBLE, rows_ago INT>>,
  context STRING,
  model ROW<name STRING, version STRING, sha256 STRING>,
  `window` ROW<first_offset BIGINT, length INT, truncated BOOLEAN, digest STRING>,
  source ROW<topic STRING, `partition` INT, `offset` BIGINT>,
  happened_at AS TO_TIMESTAMP_LTZ(event_time, 3),
  WATERMARK FOR happened_at AS happened_at - INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'machine-scores',
  'properties.bootstrap.servers' = 'broker-1:9092',
  'properties.group.id' = 'flink-scores',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);

-- What the alarms are blamed on: a row for each contribution.
SELECT entity, happened_at, score, feature, share, seen, expected
FROM scores
CROSS JOIN UNNEST(contributions) AS blamed (feature, share, seen, expected, rows_ago)
WHERE is_anomaly;
