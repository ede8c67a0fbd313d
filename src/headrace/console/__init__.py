"""The page for people: what goes on, in words, at `/_headrace/console`."""
