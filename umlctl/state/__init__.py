"""One guest on disk: its record, its lock, its logs, how it ended, and what it has of this host."""
