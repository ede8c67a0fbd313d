"""The stream (Kinesis): the commit log, its shards, its reader and its wire."""
