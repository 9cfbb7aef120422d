"""Device descriptions: parse and print what the kernel's `config` speaks; pure."""
