"""umlctl: the control plane and management shell for User Mode Linux."""

__version__ = "0.1.0"
