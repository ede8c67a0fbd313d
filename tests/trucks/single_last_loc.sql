-- The last location of one truck.
-- keys: device_id
-- parameter: truck 'truck-1'
WITH located AS (
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
SELECT located.device_id, located.time, located.latitude, located.longitude
FROM located
JOIN parameters ON parameters.truck = located.device_id
