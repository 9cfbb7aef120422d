"""One backend for each family of devices: what it takes of this host, and how a guest shows it."""
