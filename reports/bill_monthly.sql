-- What each tenant owes for each month (UTC), by the rules of docs/billing.md: a line for each meter of a tariff's
-- version, rounded once, and one for what is missing to the minimum. It follows the events and both files for ever;
-- what was billed is frozen when a month is closed: headrace bills close.
-- period: month
-- uses: bill_usage
-- keys: period_start, tenant, currency, tariff, tariff_from, meter
WITH used AS (
    SELECT
        period.begins,
        bill_usage.tenant,
        bill_usage.tariff,
        bill_usage.tariff_from,
        bill_usage.device_id,
        bill_usage.events,
        bill_usage.bytes,
        -- A device-month goes by the version that was valid at the device's first event of that tenant in the month.
        row_number() OVER (
            PARTITION BY period.begins, bill_usage.tenant, bill_usage.device_id ORDER BY bill_usage.first_time
        ) AS place
    FROM period
    JOIN bill_usage ON bill_usage.period_start >= period.begins AND bill_usage.period_start < period.ends
    WHERE bill_usage.tenant <> ''
),
quantities AS (
    SELECT begins, tenant, tariff, tariff_from, 'events' AS meter, CAST(sum(events) AS DECIMAL(18, 0)) AS quantity
    FROM used
    GROUP BY begins, tenant, tariff, tariff_from
    UNION ALL
    SELECT begins, tenant, tariff, tariff_from, 'bytes' AS meter, CAST(sum(bytes) AS DECIMAL(18, 0)) AS quantity
    FROM used
    GROUP BY begins, tenant, tariff, tariff_from
    UNION ALL
    SELECT begins, tenant, tariff, tariff_from, 'device_months' AS meter, CAST(count(*) AS DECIMAL(18, 0)) AS quantity
    FROM used
    WHERE place = 1
    GROUP BY begins, tenant, tariff, tariff_from
),
tiers AS (
    -- Units above the tier's beginning, and not above its end, of those that the allowance leaves.
    SELECT
        quantities.begins,
        quantities.tenant,
        quantities.tariff,
        quantities.tariff_from,
        quantities.meter,
        quantities.quantity,
        tariffs.free,
        tariffs.currency,
        tariffs.digits,
        tariffs.unit_price,
        greatest(
            CAST(
                least(CAST(quantities.quantity - tariffs.free AS DECIMAL(18, 0)), tariffs.up_to) - tariffs.above
                AS DECIMAL(18, 0)
            ),
            CAST(0 AS DECIMAL(18, 0))
        ) AS units
    FROM quantities
    JOIN tariffs
        ON tariffs.tariff = quantities.tariff
        AND tariffs.valid_from = quantities.tariff_from
        AND tariffs.meter = quantities.meter
),
exact AS (
    SELECT
        begins, tenant, currency, digits, tariff, tariff_from, meter, quantity, free,
        CAST(sum(units * unit_price) AS DECIMAL(38, 12)) AS amount
    FROM tiers
    GROUP BY begins, tenant, currency, digits, tariff, tariff_from, meter, quantity, free
),
lines AS (
    -- A cast to fewer decimals rounds the half away from zero, on both engines.
    SELECT
        begins, tenant, currency, tariff, tariff_from, meter, quantity, free,
        CASE digits
            WHEN 0 THEN CAST(CAST(amount AS DECIMAL(34, 0)) AS DECIMAL(38, 4))
            WHEN 2 THEN CAST(CAST(amount AS DECIMAL(36, 2)) AS DECIMAL(38, 4))
            WHEN 3 THEN CAST(CAST(amount AS DECIMAL(37, 3)) AS DECIMAL(38, 4))
            ELSE CAST(amount AS DECIMAL(38, 4))
        END AS amount
    FROM exact
),
minimums AS (
    -- The greatest of the versions by which a device of the tenant went at any moment of the month, used or not.
    SELECT period.begins, tenants.tenant, versions.currency, max(versions.minimum) AS minimum
    FROM period
    JOIN tenants ON tenants.valid_from < period.ends AND tenants.valid_to > period.begins
    JOIN (SELECT DISTINCT tariff, valid_from, valid_to, currency, minimum FROM tariffs) AS versions
        ON versions.tariff = tenants.tariff
        AND versions.valid_from < period.ends
        AND versions.valid_to > period.begins
        AND versions.valid_from < tenants.valid_to
        AND versions.valid_to > tenants.valid_from
    GROUP BY period.begins, tenants.tenant, versions.currency
)
SELECT
    begins AS period_start,
    tenant,
    currency,
    tariff,
    tariff_from,
    meter,
    CAST(quantity AS BIGINT) AS quantity,
    CAST(free AS BIGINT) AS allowance,
    amount
FROM lines
UNION ALL
SELECT
    minimums.begins AS period_start,
    minimums.tenant,
    minimums.currency,
    '' AS tariff,
    CAST(NULL AS TIMESTAMP) AS tariff_from,
    'minimum' AS meter,
    CAST(0 AS BIGINT) AS quantity,
    CAST(0 AS BIGINT) AS allowance,
    CAST(minimums.minimum - coalesce(owed.amount, CAST(0 AS DECIMAL(38, 4))) AS DECIMAL(38, 4)) AS amount
FROM minimums
LEFT JOIN (
    SELECT begins, tenant, currency, CAST(sum(amount) AS DECIMAL(38, 4)) AS amount
    FROM lines
    GROUP BY begins, tenant, currency
) AS owed
    ON owed.begins = minimums.begins AND owed.tenant = minimums.tenant AND owed.currency = minimums.currency
WHERE minimums.minimum > coalesce(owed.amount, CAST(0 AS DECIMAL(38, 4)))
