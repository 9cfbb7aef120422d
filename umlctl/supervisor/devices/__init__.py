"""The devices of one guest: what was asked for, what the guest has, and both kept the same.

The kernel says OK to devices that do not work, cannot list what it has, and forgets everything
at a reboot. So each device is written down before the kernel hears of it, looked for in the
guest afterwards, taken out again if it is not there, and plugged again after a reboot, before
anybody else's request.
"""
