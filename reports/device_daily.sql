-- What came from each device on each day (UTC): how many events, from when to when, and how far its clock and their
-- arrival lie apart. The lag is arrival less the device's time: it is below 0 where its clock is ahead.
-- period: day
-- keys: device_id, period_start
SELECT
    device_id,
    CAST(date_trunc('day', time) AS TIMESTAMP) AS period_start,
    count(*) AS events,
    min(time) AS first_time,
    max(time) AS last_time,
    sum(CASE WHEN ',' || flags || ',' LIKE '%,clock_ahead,%' THEN 1 ELSE 0 END) AS clock_ahead,
    min(lag_us) AS least_lag_us,
    max(lag_us) AS greatest_lag_us,
    CAST(sum(CAST(lag_us AS DECIMAL(28, 0))) AS DECIMAL(38, 0)) AS lag_us
FROM events
GROUP BY device_id, CAST(date_trunc('day', time) AS TIMESTAMP)
