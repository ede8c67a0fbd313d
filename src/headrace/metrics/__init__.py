"""Metrics and alarms: CloudWatch on one machine."""
