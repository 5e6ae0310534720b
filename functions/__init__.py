"""One file is one Lambda function. Nothing is decided here."""
