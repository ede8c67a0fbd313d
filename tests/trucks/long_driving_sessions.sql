-- Trucks of a fleet that have not rested for 20 minutes in the last four hours.
-- keys: device_id
-- parameter: fleet 'West'
-- parameter: end_us 0
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
)
SELECT windows.device_id, max(trucks.driver) AS driver, count(*) AS windows
FROM windows
JOIN trucks ON trucks.device_id = windows.device_id
JOIN parameters ON parameters.fleet = trucks.fleet
WHERE windows.velocity > 1.0E0
    AND windows.window_us >= parameters.end_us - 14400000000
    AND windows.window_us < parameters.end_us
GROUP BY windows.device_id
HAVING count(*) > 22
