"""The archive (S3): buckets of plain files."""
