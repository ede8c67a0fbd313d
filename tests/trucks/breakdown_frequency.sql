-- How often the trucks of each model broke down: from a window that was fine to the next one that was not.
-- keys: model
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
),
changes AS (
    SELECT
        device_id,
        2 * fine >= reported AS is_fine,
        lead(2 * fine >= reported) OVER (PARTITION BY device_id ORDER BY window_us) AS is_next_fine
    FROM statuses
)
SELECT trucks.model, sum(CASE WHEN changes.is_fine AND NOT changes.is_next_fine THEN 1 ELSE 0 END) AS breakdowns
FROM changes
JOIN trucks ON trucks.device_id = changes.device_id
GROUP BY trucks.model
