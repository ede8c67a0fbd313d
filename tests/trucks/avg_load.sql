-- How full the trucks of each fleet, model and capacity are, on the average of their means.
-- keys: fleet, model, load_capacity
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
loads AS (
    SELECT device_id, CAST(CAST(sum(amount) AS VARCHAR(40)) AS DOUBLE) / count(amount) AS mean_load
    FROM readings
    WHERE reading = 'current_load'
    GROUP BY device_id
)
SELECT
    trucks.fleet,
    trucks.model,
    trucks.load_capacity,
    -- Whole billionths: added up in any order they come to the same.
    sum(CAST(floor(loads.mean_load / trucks.load_capacity * 1.0E9 + 0.5E0) AS BIGINT)) / 1.0E9 / count(*) AS mean_share
FROM loads
JOIN trucks ON trucks.device_id = loads.device_id
WHERE trucks.load_capacity IS NOT NULL
GROUP BY trucks.fleet, trucks.model, trucks.load_capacity
