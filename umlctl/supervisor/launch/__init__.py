"""Launching a kernel, and taking over one that runs: everything of the host that it needs."""
