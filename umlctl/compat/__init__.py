"""The programs of others that umlctl stands in for, when it is called by their names."""
