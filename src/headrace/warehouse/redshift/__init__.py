"""Redshift's SQL, understood and written anew for DuckDB. `headrace.warehouse.dialect` is the way in."""
