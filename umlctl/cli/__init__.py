"""The command line: one small module a command group, loaded when it is used."""
