-- What bills are made of: each device's events on each day (UTC), by the tenant whose it was and the version of the
-- tariff that was valid, at the time of each event. Events of nobody's devices have the tenant ''; they are not billed.
-- Bytes are those of each event's JSON as it was received. Of devices that were erased it has what was kept for bills.
-- period: day
-- keys: period_start, device_id, tenant, tariff, tariff_from
WITH held AS (
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
),
sent AS (
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
    LEFT JOIN (SELECT DISTINCT device_id, arrived_before FROM kept_usage) AS kept
        ON kept.device_id = events.device_id AND kept.arrived_before > events.arrived_at
    LEFT JOIN held
        ON held.device_id = events.device_id AND events.time >= held.begins AND events.time < held.ends
    WHERE kept.device_id IS NULL
    GROUP BY
        CAST(date_trunc('day', events.time) AS TIMESTAMP), events.device_id, held.tenant, held.tariff, held.tariff_from
)
SELECT
    period_start,
    device_id,
    tenant,
    tariff,
    tariff_from,
    CAST(sum(events) AS BIGINT) AS events,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    min(first_time) AS first_time
FROM (
    SELECT period_start, device_id, tenant, tariff, tariff_from, events, bytes, first_time FROM sent
    UNION ALL
    SELECT
        kept_usage.period_start,
        kept_usage.device_id,
        kept_usage.tenant,
        kept_usage.tariff,
        kept_usage.tariff_from,
        kept_usage.events,
        kept_usage.bytes,
        kept_usage.first_time
    FROM kept_usage
    JOIN period ON period.begins = kept_usage.period_start
) AS everything
GROUP BY period_start, device_id, tenant, tariff, tariff_from
