-- The fleet on each day (UTC): how many devices sent events, which of them for the first time, and which fell silent;
-- how many records were rejected, and why; how far the devices' clocks and the arrival of their events lie apart.
-- A device is silent on a day without events of it if an earlier day had some and it was not retired by then.
-- never_heard counts those that are in the table of devices now, not retired, but had no event up to that day. Rejected
-- records count on the day of their arrival.
-- period: day
-- uses: device_daily
-- keys: period_start
WITH first_heard AS (
    SELECT
        heard.device_id,
        min(heard.period_start) AS first_day,
        CAST(date_trunc('day', max(devices.retired_at)) AS TIMESTAMP) AS retired_day
    FROM device_daily AS heard
    LEFT JOIN devices ON devices.device_id = heard.device_id
    GROUP BY heard.device_id
),
active AS (
    SELECT
        heard.period_start,
        count(*) AS active,
        sum(CASE WHEN heard.period_start = first_heard.first_day THEN 1 ELSE 0 END) AS fresh,
        sum(CASE WHEN first_heard.retired_day <= heard.period_start THEN 0 ELSE 1 END) AS expected,
        sum(heard.events) AS events,
        sum(heard.clock_ahead) AS clock_ahead,
        sum(CASE WHEN heard.clock_ahead > 0 THEN 1 ELSE 0 END) AS clock_ahead_devices,
        min(heard.least_lag_us) AS least_lag_us,
        max(heard.greatest_lag_us) AS greatest_lag_us,
        sum(heard.lag_us) AS lag_us
    FROM device_daily AS heard
    JOIN first_heard ON heard.device_id = first_heard.device_id
    GROUP BY heard.period_start
),
first_days AS (
    SELECT first_heard.first_day, first_heard.retired_day, count(*) AS heard, count(devices.device_id) AS registered
    FROM first_heard
    LEFT JOIN devices ON devices.device_id = first_heard.device_id AND devices.retired_at IS NULL
    GROUP BY first_heard.first_day, first_heard.retired_day
),
known AS (
    SELECT
        period.begins,
        coalesce(sum(CASE WHEN first_days.retired_day <= period.begins THEN 0 ELSE first_days.heard END), 0) AS heard,
        coalesce(sum(first_days.registered), 0) AS registered
    FROM period
    LEFT JOIN first_days ON first_days.first_day <= period.begins
    GROUP BY period.begins
),
refused AS (
    SELECT
        CAST(date_trunc('day', arrived_at) AS TIMESTAMP) AS period_start,
        count(*) AS rejected,
        sum(CASE WHEN reason = 'json' THEN 1 ELSE 0 END) AS rejected_json,
        sum(CASE WHEN reason = 'encoding' THEN 1 ELSE 0 END) AS rejected_encoding,
        sum(CASE WHEN reason = 'device_id' THEN 1 ELSE 0 END) AS rejected_device_id,
        sum(CASE WHEN reason = 'time' THEN 1 ELSE 0 END) AS rejected_time,
        sum(CASE WHEN reason = 'id' THEN 1 ELSE 0 END) AS rejected_id,
        sum(CASE WHEN reason = 'size' THEN 1 ELSE 0 END) AS rejected_size
    FROM rejected
    GROUP BY CAST(date_trunc('day', arrived_at) AS TIMESTAMP)
)
SELECT
    period.begins AS period_start,
    coalesce(active.active, 0) AS active,
    coalesce(active.fresh, 0) AS new,
    known.heard - coalesce(active.expected, 0) AS silent,
    everyone.devices - known.registered AS never_heard,
    coalesce(active.events, 0) AS events,
    coalesce(refused.rejected, 0) AS rejected,
    coalesce(refused.rejected_json, 0) AS rejected_json,
    coalesce(refused.rejected_encoding, 0) AS rejected_encoding,
    coalesce(refused.rejected_device_id, 0) AS rejected_device_id,
    coalesce(refused.rejected_time, 0) AS rejected_time,
    coalesce(refused.rejected_id, 0) AS rejected_id,
    coalesce(refused.rejected_size, 0) AS rejected_size,
    coalesce(active.clock_ahead, 0) AS clock_ahead,
    coalesce(active.clock_ahead_devices, 0) AS clock_ahead_devices,
    active.least_lag_us / 1.0E6 AS least_lag_s,
    active.greatest_lag_us / 1.0E6 AS greatest_lag_s,
    CAST(CAST(active.lag_us AS VARCHAR(40)) AS DOUBLE) / active.events / 1.0E6 AS mean_lag_s
FROM period
JOIN known ON known.begins = period.begins
CROSS JOIN (SELECT count(*) AS devices FROM devices WHERE retired_at IS NULL) AS everyone
LEFT JOIN active ON active.period_start = period.begins
LEFT JOIN refused ON refused.period_start = period.begins
