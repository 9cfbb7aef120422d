"""What a guest is, written down: its definition and its kernel command line; pure."""
