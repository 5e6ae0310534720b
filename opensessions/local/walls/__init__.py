"""What a sandbox on this machine is made of, one idea a file: read `jail` first, then `bubblewrap`."""
