-- The warehouse's tables, here and on Redshift: the one definition. Times are UTC.
-- A comment before a column says what it holds; `-- redshift:` is what Redshift's CREATE TABLE gets at its end.

-- An event, each identity (device_id, time, id) once.
-- redshift: DISTKEY (device_id) COMPOUND SORTKEY (time, device_id)
CREATE TABLE events (
    -- who sent it
    device_id VARCHAR(2048) NOT NULL,
    -- when it happened, as the device says
    time TIMESTAMP NOT NULL,
    -- what tells it from other events of that device and time
    id VARCHAR(256) NOT NULL,
    -- when it arrived
    arrived_at TIMESTAMP,
    -- the time as sent (JSON), where arrival replaced it
    device_time VARCHAR(65535),
    -- `clock_ahead`, `non_finite`, separated by commas; null where there are none
    flags VARCHAR(64),
    -- the stream that it came by
    stream VARCHAR(128),
    -- the shard's number: 3 is shardId-000000000003
    shard INTEGER,
    -- when the shard was created, in seconds since 1970
    shard_created BIGINT,
    -- the record's number in its shard, from 0
    number BIGINT,
    -- the record's sequence number, where the columns before don't say it
    sequence_number VARCHAR(64),
    -- length of the event's JSON as it came, in bytes of UTF-8
    bytes INTEGER,
    -- JSON object of the members that have no column of their own; null where there are none
    readings VARCHAR(65535)
);

-- A number in an event, whether it has a column in `events` or not.
-- redshift: DISTKEY (device_id) COMPOUND SORTKEY (reading, time)
CREATE TABLE readings (
    -- whose event it is
    device_id VARCHAR(2048) NOT NULL,
    -- the event's time
    time TIMESTAMP NOT NULL,
    -- the event's id
    id VARCHAR(256) NOT NULL,
    -- when the event arrived
    arrived_at TIMESTAMP,
    -- the reading's name
    reading VARCHAR(65535) NOT NULL,
    -- its value
    value DOUBLE PRECISION
);

-- A device that is registered, or has config or state.
-- redshift: DISTSTYLE ALL
CREATE TABLE devices (
    -- the device
    device_id VARCHAR(2048) NOT NULL,
    -- what it is to do (JSON)
    config VARCHAR(65535),
    -- counts the writes of config
    config_version BIGINT,
    -- when config was last written
    config_updated_at TIMESTAMP,
    -- what it said that it does (JSON)
    state VARCHAR(65535),
    -- counts the writes of state
    state_version BIGINT,
    -- when state was last written
    state_updated_at TIMESTAMP,
    -- when it was registered; null where it is not
    registered_at TIMESTAMP,
    -- `event` or `command`
    registered_by VARCHAR(64),
    -- since when it is retired; null where it is not
    retired_at TIMESTAMP,
    -- its labels (JSON object of texts)
    labels VARCHAR(65535)
);

-- A device's reading in an hour, as the report `aggregate_hourly` computed it last.
-- redshift: DISTKEY (device_id) COMPOUND SORTKEY (period_start, reading)
CREATE TABLE hourly (
    -- the device
    device_id VARCHAR(2048) NOT NULL,
    -- the reading's name
    reading VARCHAR(65535) NOT NULL,
    -- when the hour begins
    period_start TIMESTAMP NOT NULL,
    -- how many values
    count BIGINT,
    -- the least
    min DOUBLE PRECISION,
    -- the greatest
    max DOUBLE PRECISION,
    -- their mean
    mean DOUBLE PRECISION,
    -- their sum; null where a value is beyond what can be added
    sum DECIMAL(38, 9),
    -- the first value by time
    first DOUBLE PRECISION,
    -- the last value by time
    last DOUBLE PRECISION,
    -- pauses that were longer than the report's gap_s
    gaps BIGINT,
    -- the longest pause, in seconds
    longest_gap_s DOUBLE PRECISION
);

-- A device's reading on a day, as the report `aggregate_daily` computed it last.
-- redshift: DISTKEY (device_id) COMPOUND SORTKEY (period_start, reading)
CREATE TABLE daily (
    -- the device
    device_id VARCHAR(2048) NOT NULL,
    -- the reading's name
    reading VARCHAR(65535) NOT NULL,
    -- when the day begins
    period_start TIMESTAMP NOT NULL,
    -- how many values
    count BIGINT,
    -- the least
    min DOUBLE PRECISION,
    -- the greatest
    max DOUBLE PRECISION,
    -- their mean
    mean DOUBLE PRECISION,
    -- their sum; null where a value is beyond what can be added
    sum DECIMAL(38, 9),
    -- the first value by time
    first DOUBLE PRECISION,
    -- the last value by time
    last DOUBLE PRECISION,
    -- pauses that were longer than the report's gap_s
    gaps BIGINT,
    -- the longest pause, in seconds
    longest_gap_s DOUBLE PRECISION
);

-- A line of a bill of a closed month; a bill's total is the sum of amount by month, tenant and currency.
-- redshift: DISTSTYLE ALL
CREATE TABLE bills (
    -- the first day of the bill's month
    month DATE NOT NULL,
    -- who is billed
    tenant VARCHAR(65535) NOT NULL,
    -- ISO 4217
    currency VARCHAR(3) NOT NULL,
    -- `usage`, `minimum`, `adjustment`
    kind VARCHAR(64),
    -- the closed month that an adjustment corrects
    adjusts DATE,
    -- the tariff
    tariff VARCHAR(65535),
    -- since when that version of it holds
    tariff_from TIMESTAMP,
    -- `events`, `bytes`, `device_months`, `minimum`
    meter VARCHAR(64),
    -- how much was used
    quantity BIGINT,
    -- how much of it was free
    allowance BIGINT,
    -- what it costs
    amount DECIMAL(38, 4)
);
