"""systemd: what umlctl tells a service manager, and the units that it installs."""
