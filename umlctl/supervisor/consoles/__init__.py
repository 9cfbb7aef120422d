"""The consoles of one guest: their logs within bounds, and whoever looks at them.

The kernel writes each console to a file and reads it from a FIFO, so that nothing here is needed
for the guest to go on. A viewer is a place in the file: one that is slow, or does not read at
all, delays nobody, and costs no memory.
"""
