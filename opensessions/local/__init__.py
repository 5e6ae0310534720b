"""The whole system on one machine: SQLite, files, bubblewrap."""
