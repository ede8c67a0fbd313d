"""What bills go by, and what they look like: tariffs, tenants, money, statements. Pure, but for `files.py`.

Every role may import it. The rules of the arithmetic stand in `docs/billing.md`; it is done by `reports/bill_usage.sql`
and `reports/bill_monthly.sql`, on whichever engine, and months are closed by `operations/billing.py`.
"""
