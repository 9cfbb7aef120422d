"""Networks of guests: their definitions, the switch of each with its clients, and this host's
interfaces.
"""
