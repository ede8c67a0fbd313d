-- What each device's readings were on each day (UTC): how many, least, greatest, mean, sum, first, last.
-- A gap is more than gap_s seconds from one reading to the next of the same day.
-- period: day
-- keys: device_id, reading, period_start
-- items: day
-- parameter: gap_s 3600
SELECT
    device_id,
    reading,
    period_start,
    count(*) AS count,
    min(value) AS min,
    max(value) AS max,
    -- By way of text, which every engine reads to the nearest double.
    CAST(CAST(sum(amount) AS VARCHAR(40)) AS DOUBLE) / count(amount) AS mean,
    CAST(sum(amount) AS DECIMAL(38, 9)) AS sum,
    max(CASE WHEN before_us IS NULL THEN value END) AS first,
    max(CASE WHEN after_us IS NULL THEN value END) AS last,
    sum(CASE WHEN time_us - before_us > gap_s * 1000000 THEN 1 ELSE 0 END) AS gaps,
    coalesce(max(time_us - before_us), 0) / 1.0E6 AS longest_gap_s
FROM (
    SELECT
        device_id,
        reading,
        period_start,
        value,
        amount,
        time_us,
        gap_s,
        lag(time_us) OVER (PARTITION BY device_id, reading, period_start ORDER BY time_us, id) AS before_us,
        lead(time_us) OVER (PARTITION BY device_id, reading, period_start ORDER BY time_us, id) AS after_us
    FROM (
        SELECT *, CAST(date_trunc('day', time) AS TIMESTAMP) AS period_start FROM readings CROSS JOIN parameters
    ) AS daily
) AS successive
GROUP BY device_id, reading, period_start
