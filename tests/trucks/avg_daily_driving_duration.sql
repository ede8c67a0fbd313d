-- How many hours each driver drives a day, on the average of the days with any.
-- keys: device_id
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
windows AS (
    SELECT
        device_id,
        time_us - mod(time_us, 600000000) AS window_us,
        CAST(CAST(sum(amount) AS VARCHAR(40)) AS DOUBLE) / count(amount) AS velocity
    FROM readings
    WHERE reading = 'velocity'
    GROUP BY device_id, time_us - mod(time_us, 600000000)
),
days AS (
    SELECT device_id, window_us - mod(window_us, 86400000000) AS day_us, count(*) AS driven
    FROM windows
    WHERE velocity > 1.0E0
    GROUP BY device_id, window_us - mod(window_us, 86400000000)
)
SELECT days.device_id, max(trucks.fleet) AS fleet, max(trucks.driver) AS driver, sum(days.driven) / 6.0E0 / count(*) AS hours
FROM days
LEFT JOIN trucks ON trucks.device_id = days.device_id
GROUP BY days.device_id
