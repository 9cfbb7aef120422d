"""The consoles of one guest: their logs within bounds, and their viewers.

The kernel writes each console to a file and reads it from a FIFO. So the guest needs nothing of
this room to go on. A viewer is a place in the file: a viewer that is slow, or does not read at all,
delays no other, and costs no memory.
"""
