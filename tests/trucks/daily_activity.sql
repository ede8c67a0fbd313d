-- Which share of each day the trucks of a fleet and model were active: at least half of what they reported was fine.
-- keys: fleet, model, day_us
WITH trucks AS (
    SELECT
        device_id,
        max(CASE WHEN name = 'fleet' THEN value END) AS fleet,
        max(CASE WHEN name = 'driver' THEN value END) AS driver,
        max(CASE WHEN name = 'model' THEN value END) AS model,
        CAST(max(CASE WHEN name = 'load_capacity' THEN value END) AS DOUBLE) AS load_capacity,
        CAST(max(CASE WHEN name = 'nominal_fuel_consumption' THEN value END) AS DECIMAL(18, 6)) AS nominal
    FROM properties
    WHERE source = 'config'
    GROUP BY device_id
),
statuses AS (
    SELECT
        device_id,
        time_us - mod(time_us, 600000000) AS window_us,
        sum(CASE WHEN value = 0.0E0 THEN 1 ELSE 0 END) AS fine,
        count(*) AS reported
    FROM readings
    WHERE reading = 'status'
    GROUP BY device_id, time_us - mod(time_us, 600000000)
)
SELECT trucks.fleet, trucks.model, window_us - mod(window_us, 86400000000) AS day_us, count(*) / 144.0E0 AS active_days
FROM statuses
JOIN trucks ON trucks.device_id = statuses.device_id
WHERE 2 * statuses.fine >= statuses.reported
GROUP BY trucks.fleet, trucks.model, window_us - mod(window_us, 86400000000)
