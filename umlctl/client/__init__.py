"""The one way of all clients to a guest, whoever supervises it."""
