-- Trucks of a fleet whose last fuel state is below a tenth.
-- keys: device_id
-- parameter: fleet 'South'
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
latest AS (
    SELECT device_id, time_us, value
    FROM (
        SELECT
            device_id,
            time_us,
            value,
            row_number() OVER (PARTITION BY device_id ORDER BY time_us DESC, id DESC) AS place
        FROM readings
        WHERE reading = 'fuel_state'
    ) AS ranked
    WHERE place = 1
)
SELECT latest.device_id, trucks.driver, latest.value AS fuel_state
FROM latest
JOIN trucks ON trucks.device_id = latest.device_id
JOIN parameters ON parameters.fleet = trucks.fleet
WHERE latest.value < 0.1E0
