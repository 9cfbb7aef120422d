"""Networks of guests: their definitions, the switch of each and who talks to it, and this host's
interfaces.
"""
