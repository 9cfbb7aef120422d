"""What people of other systems used, and what they use now: the rows of `umlctl help migrating`.

What stands between two '`' is typed, or stands in a file. A test sees that each command, option and
key of umlctl that is named there exists.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Row(NamedTuple):
    """One row.

    Fields:
        theirs: what they used, or asked of their users
        here: what umlctl has for it, or why there is nothing
    """

    theirs: str
    here: str


class Section(NamedTuple):
    """The rows of one system.

    Fields:
        title: of it, in words that a manual page can have as a heading
        begins: a sentence before the rows
        rows: in the order in which one meets them
    """

    title: str
    begins: str
    rows: tuple[Row, ...]


VKERNEL: Final = Section(
    "From vkernel",
    "`umlctl import vkernel -- ARGUMENT...` reads a command line; these are its parts",
    (
        Row("running the kernel's binary", "`umlctl run web`, or `umlctl start web` to come back"),
        Row("-c FILE", "`--disk FILE,ro`; as the root, `--root FILE,ro`"),
        Row(
            "the first of -r, -R and -c is the boot disk",
            "the root is said by itself, `--root FILE`, whatever the order",
        ),
        Row("-e NAME=VALUE", "`--append NAME=VALUE`, one each; quotes and colons mean nothing"),
        Row("-i FILE", "the memory's file has no name and ends with the guest; `--mem-dir DIR`"),
        Row(
            "-I auto", "`--nic tap=auto`, as root; without root, `--nic user` or `--nic switch=lan`"
        ),
        Row("-I auto:bridge0", "`--nic tap=auto,bridge=br0`"),
        Row(
            "-I auto:ADDRESS:ADDRESS/MASK",
            "`--nic tap=auto,host=10.0.0.1/24,addr=10.0.0.2/24`",
        ),
        Row("-I with a socket of vknetd", "`--nic switch=lan`, a switch that nobody need start"),
        Row(
            "vknetd -t tap0 ADDRESS/MASK",
            "`umlctl network create lan`, with `--user` for a way out without root",
        ),
        Row("-l any, -l CPU, -l map,CPU", "`--cpus any`, `--cpus LIST`, `--cpus map,START`"),
        Row("-m SIZE", "`--mem SIZE`"),
        Row("-n CPUS", "`--ncpus N`, with a kernel that has SMP: `umlctl kernel list`"),
        Row("-p PIDFILE", "`--pidfile FILE`, locked while the guest runs; `umlctl status web`"),
        Row("-r FILE, -r FILE:SERIAL", "`--disk FILE`, `--disk FILE,serial=S`"),
        Row("-R FILE", "`--disk FILE,discard`; `cow=FILE` in its place keeps what is written"),
        Row(
            "data of -R are lost unless they are exported",
            "`umlctl collect web /PATH` and `umlctl cp` bring files out first",
        ),
        Row("-s", "`--single`"),
        Row("-U", "the default; without it a vkernel is as with `--modules locked`"),
        Row("-v", "`--verbose`"),
        Row("lockf(1) on the pidfile", "`umlctl status web`, whose exit code says it"),
        Row("SIGTERM for a clean shutdown", "`umlctl shutdown web`; never SIGKILL to the kernel"),
        Row("^\\ and ddb", "`umlctl sysrq web`, `umlctl stack web 1`, `umlctl gdb web`"),
        Row(
            "gdb with handle SIGSEGV noprint",
            "`umlctl gdb web`, which passes on the signals that a kernel runs by",
        ),
        Row("hw.vke0.tap_unit", "`umlctl nic list web`"),
        Row("hw.vke.max_ringsize", "`--nic vec0:transport=tap,ifname=t,depth=64`"),
        Row("16 of vkd, vcd and vke each", "16 disks, which CDs are as well; NICs up to 64"),
        Row("a kernel that is debugged without reboots", "`umlctl run --kernel ./linux --console`"),
        Row("reboot, halt and shutdown inside", "the same: a reboot stays in the same process"),
        Row("sysctl vm.vkernel_enable=1", "nothing is to be enabled; `umlctl doctor` looks"),
        Row(
            "kldload if_tap, ifconfig bridge0 addm",
            "`umlctl network create br0 --bridge`, as root",
        ),
        Row(
            "vnconfig, disklabel, newfs, installworld",
            "`umlctl image build web --from DIR`, without root",
        ),
        Row("/var/vkernel, and a link to it", "`~/.local/state/umlctl`; `UMLCTL_DIR` moves it"),
        Row(
            "vfs.root.mountfrom",
            "`--root FILE`; of a part of that disk `--append root=/dev/ubda1`",
        ),
        Row(
            "boot.netif.ip, netmask and gateway",
            "`--nic switch=lan,addr=10.0.0.2/24`, and `umlctl exec web -- ip route` for the rest",
        ),
        Row(
            "boot.nfsroot.server and path",
            "`--append root=/dev/nfs`, with a kernel that has NFS as it boots",
        ),
        Row(
            "an NFS root for many",
            "`--root DIR,ro`: a directory of this host, without a network",
        ),
    ),
)
XEN: Final = Section(
    "From Xen, by xl or xm",
    "`umlctl import xl FILE` reads a configuration file; these are the commands",
    (
        Row("scripts that call xl", "`umlctl compat DIR` makes one, for guests as domains: xl(7)"),
        Row("dom0 and domU", "the host and its guests; nothing has to boot under a hypervisor"),
        Row("/etc/xen, /usr/pkg/etc/xen", "`~/.config/umlctl/guests/web.toml`; `umlctl define`"),
        Row(
            "name, and a file of that name",
            "the file's name is the guest's: `umlctl define FILE NAME`",
        ),
        Row("files that are Python", "TOML, which nothing runs: umlctl.toml(5)"),
        Row("xmexample1 and its like", "`umlctl examples`"),
        Row("xl create FILE", "`umlctl start ./web.toml`; a name where it is defined"),
        Row("xl create -c FILE", "`umlctl start web --console`"),
        Row("xl console, left by ^]", "`umlctl console web`, left by ^] as well"),
        Row("xl shutdown, with -w and -a", "`umlctl shutdown web`, which waits, and `--all`"),
        Row(
            "xm shutdown with -R and -H, and powerd",
            "`umlctl shutdown -R web`, `umlctl shutdown -H web`; init has Ctrl-Alt-Del",
        ),
        Row("xl destroy", "`umlctl kill web`"),
        Row("xl reboot", "`umlctl reboot web`; with an edited file `umlctl restart --reload web`"),
        Row(
            "halt -p, or else the INSTALL kernel comes again",
            "`--append noreboot`, and a reboot is the end; `umlctl examples installer`",
        ),
        Row("xl list, -l", "`umlctl list`, `umlctl list --json`, `umlctl top`"),
        Row("xl pause, unpause", "`umlctl stop web`, `umlctl go web`"),
        Row("xl info", "`umlctl info`"),
        Row("xl dmesg", "`umlctl dmesg web`, the kernel's; `umlctl events`, the supervisor's"),
        Row("xl sysrq", "`umlctl sysrq web`"),
        Row("tcpdump on a vif or a tap", "`umlctl capture web`"),
        Row("xl uptime, vcpu-list, domid, domname", "`umlctl status web`, `umlctl ps web`"),
        Row("xl mem-set, the balloon", "`umlctl mem web`, up to what it has booted with"),
        Row(
            "xl block-attach, -detach, -list",
            "`umlctl disk add`, `umlctl disk rm`, `umlctl disk list`",
        ),
        Row(
            "xl network-attach, -detach, -list",
            "`umlctl nic add`, `umlctl nic rm`, `umlctl nic list`",
        ),
        Row(
            "xl save, restore, migrate",
            "a guest's memory cannot be kept; `umlctl snapshot` has disks",
        ),
        Row(
            "xl rename", "`umlctl show web`, `umlctl define` under another name, `umlctl undefine`"
        ),
        Row("disk, phy: and file:, hex numbers", "`--disk FILE`, a block device too; `slot=N`"),
        Row(
            "vif with mac and bridge",
            "`--nic tap=auto,bridge=br0,mac=MAC`; without mac, always the same",
        ),
        Row("vif = [ '' ]", "`--nic user`: nothing is meant by nothing"),
        Row(
            "a disk that is added later, or is larger",
            "`umlctl disk add web`, `umlctl image resize`",
        ),
        Row("vif with rate", "`umlctl nic set web vec0 --rate 10mbit` on a switch, tc(8) on a tap"),
        Row("vif-bridge up and down", "`umlctl network create` with `--up` and `--down`"),
        Row("xvif1.0", "`umlctl nic list web` has the tap; it ends with the guest"),
        Row("a bridge for a server, NAT for a desk", "`--profile server:br0`, `--profile lab`"),
        Row(
            "autorestart, on_crash, on_watchdog",
            "`--restart on-failure`, `--on-panic`, `--on-hang`",
        ),
        Row("xendomains, xend, xencommons", "`umlctl enable web`, `umlctl setup --systemd`"),
        Row("the order of xendomains", "`--after db`, which holds for the end as well"),
        Row("/var/log/xen", "`umlctl logs web`, `umlctl events web`"),
        Row("xen-watchdog", "`--hang-after SECONDS` with `--on-hang restart`"),
        Row("cap, cpus", "`--cpu-limit PERCENT`, `--cpus LIST`"),
        Row(
            "names that are unique, and numbers of domains",
            "the name alone; it is the kernel's umid",
        ),
        Row(
            "the time used in the list", "`umlctl list`, `umlctl ps web`: all processes of a guest"
        ),
        Row("guests that wait for entropy", "the kernel of a guest has the host's randomness"),
        Row(
            "a kernel each, and copies by the name of .ok",
            "`umlctl kernel add`, which keeps the one before, and `umlctl kernel rollback`",
        ),
        Row("which versions go together", "`umlctl kernel list`, `umlctl doctor`"),
        Row("ramdisk", "`--initrd FILE`"),
        Row("pci, pciback.hide", "a kernel with VFIO (Linux 6.16) takes `vfio_uml.device=`"),
        Row("anita --vmm=xm", "`umlctl test`, `umlctl exec`"),
        Row("xentrace, xenstore, cpupools", "there are none: a guest is processes of this host"),
    ),
)
TOOLS: Final = Section(
    "From the old utilities of UML",
    "`umlctl import linux -- ARGUMENT...` reads a command line of a kernel; "
    "these are the programs and their words",
    (
        Row("scripts that call linux", "`umlctl compat DIR` makes one, supervised: linux(7)"),
        Row("linux mem=256M ubd0=root_fs umid=web", "`umlctl start web --mem 256M --root root_fs`"),
        Row("linux in a terminal", "`umlctl run web --console`; Ctrl-C shuts it down in order"),
        Row(
            "any argument of the kernel",
            "behind `--`, or `--append`: `umlctl run web -- loglevel=7`",
        ),
        Row("the final command line", "`umlctl dumpargs web`"),
        Row("ubd0=root_fs", "`--root root_fs`"),
        Row("ubd1=FILE, and flags r, s, c, t", "`--disk FILE,ro,sync,shared,no-trim`"),
        Row("ubd0=COW,BACKING", "`--root BACKING,cow=COW`"),
        Row("root=/dev/root rootfstype=hostfs rootflags=DIR", "`--root DIR`, `--root host`"),
        Row("con0=fd:0,fd:1, con=xterm, ssl=port:4000", "`umlctl console web`, for many at a time"),
        Row("script(1) around it", "`umlctl logs web`, from the first byte on, also afterwards"),
        Row(
            "uml_mconsole web",
            "`umlctl shell web`; the stock client works on guests of umlctl too; "
            "`umlctl compat` has one, and the other programs below",
        ),
        Row(
            "uml_mconsole web version, proc, stack, sysrq, log, cad",
            "`umlctl version web` and so on",
        ),
        Row("uml_mconsole web config, remove", "`umlctl plug web`, or `umlctl disk`, `umlctl nic`"),
        Row("uml_mconsole web stop, go", "`umlctl stop web`, `umlctl go web`"),
        Row(
            "uml_mconsole web halt, reboot",
            "`umlctl shutdown web`; `umlctl halt web` syncs nothing, `umlctl sync web` does",
        ),
        Row("uml_mconsole with other words", "`umlctl mconsole web TEXT`"),
        Row("uml_moo COW NEW", "`umlctl cow merge COW NEW`"),
        Row("uml_moo -d COW", "`umlctl cow merge --in-place COW`"),
        Row("uml_moo -b BACKING", "`umlctl cow rebase COW BACKING`"),
        Row("uml_mkcow COW BACKING", "`umlctl cow create COW BACKING`, or `cow=COW` of a disk"),
        Row("tunctl -u USER, ifconfig, brctl", "`--nic tap=auto`, which is made and removed"),
        Row("uml_switch, eth0=daemon", "`--nic switch=lan`; `umlctl network show lan`"),
        Row("uml_net, a setuid program", "`--nic user`, which takes no privilege"),
        Row("eth0=slirp", "`--nic user,forward=8080:80`"),
        Row(
            "eth0=mcast, eth0=tuntap, vec0:transport=tap",
            "`--nic` takes the kernel's own words, too",
        ),
        Row(
            "setcap cap_net_admin,cap_net_raw+ep linux",
            "`umlctl network check` says which privilege a NIC takes; no file gets any",
        ),
        Row("mount -t hostfs, hostfs=DIR", "`--share DIR:PATH`, and `--confine strict` beside it"),
        Row("TMPDIR, and a tmpfs with mpol=bind", "`--mem-dir DIR`, `--numa NODE`"),
        Row(
            "a name in /etc/hostname of each image",
            "each guest is called by its own, unless `umlctl image build web --hostname NAME`",
        ),
        Row("linux without arguments, which opens xterms", "`umlctl run`, which opens none"),
        Row("port-helper, uml_watchdog", "no window is opened; `--hang-after` watches"),
        Row("jailtest, chroot around it", "`--confine strict`; `--user USER` for root"),
        Row("mounting an image to mend it", "`umlctl exec --disk FILE -- COMMAND`, without root"),
        Row("make modules_install into an image", "`--kernel TREE`, which brings its modules"),
        Row("kill -9 of the kernel", "`umlctl kill web`; by hand, guest code would run on here"),
        Row("ls ~/.uml", "`umlctl list`, which shows guests that others started as well"),
        Row(
            "virsh of the uml driver",
            "`umlctl import libvirt FILE`; libvirt has that driver no more",
        ),
    ),
)
NOWHERE: Final = Section(
    "What has no counterpart",
    "Some things that these systems ask for are not to be done at all",
    (
        Row("vkernel -t, hw.tsc_cputimer_enable", "UML always has the host's precise timers"),
        Row("vkernel -z", "pages of a guest's memory are zero when it first touches them"),
        Row("vkernel -n N:LBITS:CBITS", "UML fakes no threads and cores, and no APIC"),
        Row("vnconfig, more than four vn devices", "images are made without loop devices"),
        Row(
            "make buildkernel KERNCONF=VKERNEL64",
            "`make ARCH=um` in Linux' sources; `--kernel TREE`",
        ),
        Row("make MACHINE_PLATFORM=pc64", "programs of a guest are ordinary ones of this machine"),
        Row("guests of BSD and Solaris", "UML is Linux, and runs Linux alone"),
        Row(
            "dom0_mem, dom0_max_vcpus, boot.cfg, grub menus",
            "the host boots as always; max_total_mem of umlctl.toml(5) bounds what all guests take "
            "of it, and `--memory-limit SIZE` what one does",
        ),
        Row("MAKEDEV xencons, xenevt, /kern/xen", "the host's kernel has no part in it"),
        Row("the kernel inside as /netbsd, savecore", "nothing; modules come with `--kernel TREE`"),
        Row("a VNC viewer for an installer", "UML has no screen; `umlctl console web`"),
        Row(
            "pygrub, pvgrub", "a kernel out of a guest's image would run as a program of this host"
        ),
        Row("port-helper for xterms", "`umlctl console web` in any terminal"),
        Row("the kernel's mailing list and checkpatch", "they are for changes of UML itself"),
    ),
)
SECTIONS: Final = (VKERNEL, XEN, TOOLS, NOWHERE)
