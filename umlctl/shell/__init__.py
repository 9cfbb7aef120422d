"""The interactive shell; it talks to a guest through socketproto and nothing else."""
