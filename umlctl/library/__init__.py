"""What `import umlctl` has for programs: guests, their consoles, and many guests at a time.

It is the client of the house: what the commands do, it does by the same modules. It touches neither
the standard streams nor the signals of the process that it is in. `docs/library.md` is for users.
"""
