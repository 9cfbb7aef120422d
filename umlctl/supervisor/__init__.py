"""The lifetime of guests: kernel process, exchanges, notifications, policy."""
