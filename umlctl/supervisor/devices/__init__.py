"""The devices of one guest: what was asked for, what the guest has, and both kept the same.

The kernel says OK to devices that do not work, cannot list what it has, and forgets all of them at
a reboot. So the supervisor writes each device down before the kernel hears of it, and looks for it
in the guest afterwards. It takes the device out again if the guest does not have it. After a reboot
it plugs the device again, before any client's request.
"""
