"""The warehouse: tables for SQL, behind the Redshift Data API."""
