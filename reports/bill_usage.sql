-- What bills are made of: each device's events on each day (UTC), by the tenant whose it was and the version of the
-- tariff that was valid, at the time of each event. Events of nobody's devices have the tenant ''; they are not billed.
-- Bytes are those of each event's JSON as it was received.
-- period: day
-- keys: period_start, device_id, tenant, tariff, tariff_from
SELECT
    CAST(date_trunc('day', events.time) AS TIMESTAMP) AS period_start,
    events.device_id,
    coalesce(held.tenant, '') AS tenant,
    coalesce(held.tariff, '') AS tariff,
    held.tariff_from,
    count(*) AS events,
    CAST(coalesce(sum(events.bytes), 0) AS BIGINT) AS bytes,
    min(events.time) AS first_time
FROM events
LEFT JOIN (
    SELECT
        tenants.device_id,
        tenants.tenant,
        tenants.tariff,
        versions.valid_from AS tariff_from,
        greatest(tenants.valid_from, versions.valid_from) AS begins,
        least(tenants.valid_to, versions.valid_to) AS ends
    FROM tenants
    JOIN (SELECT DISTINCT tariff, valid_from, valid_to FROM tariffs) AS versions
        ON versions.tariff = tenants.tariff
        AND versions.valid_from < tenants.valid_to
        AND versions.valid_to > tenants.valid_from
) AS held
    ON held.device_id = events.device_id AND events.time >= held.begins AND events.time < held.ends
GROUP BY
    CAST(date_trunc('day', events.time) AS TIMESTAMP), events.device_id, held.tenant, held.tariff, held.tariff_from
