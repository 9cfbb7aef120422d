"""What this machine offers; it knows no guest."""
