"""What looks across roles: status, verification, trace, backup, doctor. Uses the roles; no role uses it."""
