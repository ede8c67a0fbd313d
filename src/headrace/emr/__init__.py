"""The jobs on a cluster: compaction and reports under Spark on EMR, over S3 and DynamoDB."""

# What an environment for the cluster has beside this package and Spark, in names of distributions.
REQUIREMENTS = ("aws_kinesis_agg", "boto3", "duckdb", "msgspec", "pybase64", "zstandard")
