"""Readers of other systems' guests: what each says, in the words of a definition of ours. Pure.

A reader takes a text, or the words of a command line, and gives a `Reading`: what can be carried
over, and what cannot, each with its place. Nothing that is read is run. Whether what was carried
over can be had, together and on this host, is seen in `umlctl.definitions.imported`.
"""
