-- Scores into ClickHouse: a table that reads the topic, one that keeps the scores, and a view that moves them.
-- librdkafka, by which ClickHouse reads, skips records of aborted transactions by itself.

CREATE TABLE scores_queue
(
    schema_version UInt8,
    id String,
    entity String,
    event_time Int64,
    score Float32,
    p_value Float32,
    threshold Float32,
    is_anomaly Bool,
    warming Bool,
    missing UInt32,
    top_feature Nullable(String),
    contributions Array(Tuple(feature String, share Float32, value Nullable(Float32), expected Nullable(Float32), rows_ago UInt32)),
    context String,
    model Tuple(name String, version String, sha256 String),
    window Tuple(first_offset Int64, length UInt32, truncated Bool, digest String),
    source Tuple(topic String, partition Int32, offset Int64)
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'broker-1:9092,broker-2:9092',
         kafka_topic_list = 'machine-scores',
         kafka_group_name = 'clickhouse-scores',
         kafka_format = 'JSONEachRow';

-- The id names the scored record: of what comes again, one is kept (at once for those who ask with FINAL).
CREATE TABLE scores
(
    id String,
    entity LowCardinality(String),
    event_time DateTime64(3, 'UTC'),
    score Float32,
    p_value Float32,
    is_anomaly Bool,
    warming Bool,
    missing UInt32,
    contributions Nested(feature LowCardinality(String), share Float32, value Nullable(Float32), expected Nullable(Float32), rows_ago UInt32),
    context String,
    model_version LowCardinality(String),
    model_sha256 LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (entity, event_time, id);

CREATE MATERIALIZED VIEW scores_flow TO scores AS
SELECT
    id,
    entity,
    fromUnixTimestamp64Milli(event_time, 'UTC') AS event_time,
    score,
    p_value,
    is_anomaly,
    warming,
    missing,
    contributions.feature AS `contributions.feature`,
    contributions.share AS `contributions.share`,
    contributions.value AS `contributions.value`,
    contributions.expected AS `contributions.expected`,
    contributions.rows_ago AS `contributions.rows_ago`,
    context,
    model.version AS model_version,
    model.sha256 AS model_sha256
FROM scores_queue;

-- What the alarms are blamed on: a row for each contribution.
SELECT feature, count() AS alarms, round(avg(share), 3) AS mean_share
FROM scores FINAL
ARRAY JOIN contributions.feature AS feature, contributions.share AS share
WHERE is_anomaly
GROUP BY feature
ORDER BY alarms DESC, feature;
