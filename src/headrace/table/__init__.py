"""The table (DynamoDB): the interface, the embedded store and its process."""
