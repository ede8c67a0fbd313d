-- How many minutes each truck drives without a stop, on the average of the sessions that begin on a day.
-- keys: device_id, day_us
WITH windows AS (
    SELECT
        device_id,
        time_us - mod(time_us, 600000000) AS window_us,
        CAST(CAST(sum(amount) AS VARCHAR(40)) AS DOUBLE) / count(amount) AS velocity
    FROM readings
    WHERE reading = 'velocity'
    GROUP BY device_id, time_us - mod(time_us, 600000000)
),
numbered AS (
    SELECT
        device_id,
        window_us,
        window_us - 600000000 * CAST(row_number() OVER (PARTITION BY device_id ORDER BY window_us) AS BIGINT) AS session_us
    FROM windows
    WHERE velocity > 1.0E0
),
sessions AS (
    SELECT device_id, min(window_us) AS window_us, count(*) AS windows
    FROM numbered
    GROUP BY device_id, session_us
)
SELECT device_id, window_us - mod(window_us, 86400000000) AS day_us, 10.0E0 * sum(windows) / count(*) AS minutes
FROM sessions
GROUP BY device_id, window_us - mod(window_us, 86400000000)
