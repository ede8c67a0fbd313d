"""Batch jobs: portable SQL over archive and tables, on two engines, by schedule; and whatever else runs by schedule."""
