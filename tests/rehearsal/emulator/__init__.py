"""ministack, with what it lacks to take our stack. Runs in `.venv-rehearsal`, whose packages are its own."""
