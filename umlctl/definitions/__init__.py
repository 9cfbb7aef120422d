"""Guests as users write them down: the files, and the definition that is made of a file or of
options.
"""
