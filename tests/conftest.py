"""For all tests: processes they start can be interrupted, also where this run is a background job of a shell."""

import signal

# A shell starts background jobs with SIGINT ignored, and what is ignored is inherited by every child.
signal.signal(signal.SIGINT, signal.default_int_handler)
