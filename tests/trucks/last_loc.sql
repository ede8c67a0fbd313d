-- The last location of each truck.
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
located AS (
    SELECT device_id, time, latitude, longitude
    FROM (
        SELECT
            device_id,
            time,
            latitude,
            longitude,
            row_number() OVER (PARTITION BY device_id ORDER BY time_us DESC, id DESC) AS place
        FROM events
        WHERE latitude IS NOT NULL AND longitude IS NOT NULL
    ) AS ranked
    WHERE place = 1
)
SELECT located.device_id, trucks.driver, located.time, located.latitude, located.longitude
FROM located
LEFT JOIN trucks ON trucks.device_id = located.device_id
