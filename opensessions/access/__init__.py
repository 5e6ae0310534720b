"""Who calls, by which key or token, what they may do, and the record of it."""
