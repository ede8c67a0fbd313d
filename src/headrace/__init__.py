"""Headrace: an IoT backend that runs one SAM template on one machine or on AWS."""
