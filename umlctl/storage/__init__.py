"""What guests keep their data in: COW files."""
