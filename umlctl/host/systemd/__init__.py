"""systemd: what a service manager is told, and the units that it is given."""
