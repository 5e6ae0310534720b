"""What sessions use, what it costs, and how much of it they may."""
