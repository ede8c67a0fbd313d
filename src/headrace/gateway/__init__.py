"""The gateway: HTTP in, one handler out."""
