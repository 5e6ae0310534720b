"""One file is one Lambda function. Nothing is decided here."""

import gc

# What a cold start makes is there to stay. To search it for garbage after every 700 objects, as Python does
# by default, takes a tenth of the start.
gc.set_threshold(50_000)
