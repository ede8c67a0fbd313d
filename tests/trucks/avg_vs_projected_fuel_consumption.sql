-- What each fleet consumes on the move, and what it should.
-- keys: fleet
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
consumed AS (
    SELECT readings.device_id, readings.amount
    FROM readings
    JOIN events ON events.device_id = readings.device_id AND events.time = readings.time AND events.id = readings.id
    WHERE readings.reading = 'fuel_consumption' AND events.velocity > 1.0E0
)
SELECT
    trucks.fleet,
    CAST(CAST(sum(consumed.amount) AS VARCHAR(40)) AS DOUBLE) / count(consumed.amount) AS mean_consumption,
    CAST(CAST(sum(trucks.nominal) AS VARCHAR(40)) AS DOUBLE) / count(trucks.nominal) AS projected_consumption
FROM consumed
JOIN trucks ON trucks.device_id = consumed.device_id
WHERE trucks.fleet IS NOT NULL AND trucks.nominal IS NOT NULL
GROUP BY trucks.fleet
