"""A command in a guest: what passes between it and a process of this host, and files by it."""
