"""The interactive shell; it reaches guests through `umlctl.client` and the command line alone."""
