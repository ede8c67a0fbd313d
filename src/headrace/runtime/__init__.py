"""The runtime (Lambda): event source mappings, function workers, invokes."""
