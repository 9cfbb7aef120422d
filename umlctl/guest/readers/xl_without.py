"""What of an xl file has no counterpart: its keys, with reasons.

Each has why it is not carried over, and what to use instead; empty: nothing.
Source: xl.cfg(5), and the examples that xm came with
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

IS_CONSOLE: Final = "the console of a guest is tty0, and `umlctl console` is attached to it"
IS_HARDWARE: Final = "UML emulates no hardware"
IS_XEN: Final = "it is Xen's own"
WITHOUT: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(
        (
            *(
                "vfb",
                "vnc",
                "vncpasswd",
                "vncdisplay",
                "vnclisten",
                "vncunused",
                "sdl",
                "nographic",
            ),
            *("keymap", "stdvga", "vga", "videoram", "opengl", "spice"),
        ),
        ("UML has no screen", "`umlctl console` is its terminal"),
    ),
    **dict.fromkeys(("serial", "console"), (IS_CONSOLE, "")),
    **dict.fromkeys(
        (
            *(
                "acpi",
                "apic",
                "pae",
                "hpet",
                "nx",
                "hap",
                "viridian",
                "usb",
                "usbdevice",
                "soundhw",
            ),
            *("device_model", "device_model_version", "device_model_override", "boot", "firmware"),
            *("localtime", "rtc_timeoffset", "timer_mode", "cpuid", "features", "nestedhvm"),
            *("shadow_memory", "xen_platform_pci", "vpt_align", "tsc_mode"),
        ),
        (IS_HARDWARE, ""),
    ),
    **dict.fromkeys(
        ("bootloader", "bootargs", "bootentry", "bootloader_args"),
        (
            "a kernel from a guest's own file system would run as a program of this host",
            "`kernel` names one on this host",
        ),
    ),
    **dict.fromkeys(
        ("pci", "gfx_passthru", "rdm", "ioports", "irqs", "iomem"),
        (
            "the hardware of this host is not given to guests by xl's words",
            "a kernel with VFIO (Linux 6.16) takes vfio_uml.device= in `append`",
        ),
    ),
    "uuid": ("a guest is known by its name", ""),
    "cpu_weight": ("guests have no weights", "`cpu-limit` is the most that one gets"),
    "maxvcpus": ("processors are not added while a guest runs", "`ncpus` is their number"),
    "cpus_soft": ("there is no soft pinning", "`cpus` is the list that it runs on"),
    "pool": ("there are no pools of processors", "`cpus` is the list that it runs on"),
    "vnuma": ("a guest of UML has one node", ""),
    **dict.fromkeys(
        ("nfs_server", "nfs_root"),
        (
            "UML brings no network up before it has its root",
            'a directory of this host is a root: root = "DIR", or "DIR,ro"',
        ),
    ),
    **dict.fromkeys(
        ("ip", "netmask", "gateway", "hostname", "dhcp"),
        ("the guest's own network setup does that", "addr= of `nic` is a hint to it"),
    ),
    **dict.fromkeys(
        (
            *("seclabel", "init_seclabel", "max_grant_frames", "max_maptrack_frames", "nomigrate"),
            *("driver_domain", "device_tree", "passthrough", "xend_port", "altp2m", "vtpm", "p9"),
        ),
        (IS_XEN, ""),
    ),
    "description": ("a definition has comments for that", "a comment begins with #"),
}
"""Keys of a file."""
UNKNOWN: Final = ("no counterpart of it is known", "`umlctl help migrating` has what there is")
