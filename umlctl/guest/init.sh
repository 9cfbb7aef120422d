#!/bin/sh
# Process 1 of a guest that runs on the host's own userland, read-only: gives it the file
# systems a system must write, a shell on the console, and an orderly end on Ctrl-Alt-Del.
#
# The kernel of an ordinary user may run in a user namespace, and sees root's files as nobody's
# there: a set-user-ID program of root, such as mount, would turn root into nobody.
if [ ! -O / ] && [ -z "$UMLCTL_AS_ROOT" ]; then
    UMLCTL_AS_ROOT=1 exec setpriv --no-new-privs sh "$0" "$@"
fi
unset UMLCTL_AS_ROOT
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# What is written over the host's files, or a directory of them, stays in memory or on a disk. After
# that the root is in the current directory.
lay_over() {
    [ -c /dev/null ] && [ -c /dev/tty0 ] || mount -t devtmpfs devtmpfs /dev || return
    mount -t proc proc /proc || return # mount(8) looks there for what it has done
    base=/sys lower=/ # where a directory is on any host, with nothing in it yet
    mount -t tmpfs -o size=80%,mode=755 tmpfs $base && mkdir $base/kept $base/root || return
    case $UMLCTL_OVERLAY in /*) mount -t ext4 "$UMLCTL_OVERLAY" $base/kept || return ;; esac
    mkdir -p $base/kept/upper $base/kept/work || return
    if [ -n "$UMLCTL_ROOT" ]; then
        lower=$base/lower
        mkdir $lower || return
        LIBMOUNT_FORCE_MOUNT2=always mount -i -t hostfs -o "$UMLCTL_ROOT,ro" none $lower || return
    fi
    [ -z "$UMLCTL_OVERLAY_MODULE" ] || insmod "$UMLCTL_OVERLAY_MODULE" ||
        busybox insmod "$UMLCTL_OVERLAY_MODULE" || return
    mount -t overlay -o "lowerdir=$lower,upperdir=$base/kept/upper,workdir=$base/kept/work" \
        overlay $base/root || return
    [ -d $base/root/dev ] || mkdir $base/root/dev || return
    mount -n --move /dev $base/root/dev && umount /proc && cd $base/root && mount -n --move . /
}

if [ -n "$UMLCTL_OVERLAY" ]; then
    lay_over || { # the kernel panics, and says this before
        echo "umlctl: nothing could be laid over the files of the host, to be written"
        exit 1
    }
    root=$UMLCTL_ROOT
    unset UMLCTL_OVERLAY UMLCTL_OVERLAY_MODULE UMLCTL_ROOT
    if [ -z "$root" ]; then
        UMLCTL_LAID_OVER=1 exec chroot . sh "$0" "$@"
    fi
    program=$UMLCTL_INIT
    unset UMLCTL_INIT
    [ -n "$program" ] || for program in /sbin/init /etc/init /bin/init /bin/sh; do
        [ ! -x ".$program" ] && [ ! -L ".$program" ] || break # as a kernel looks for it
    done
    exec chroot . "$program" "$@"
fi
if [ -n "$UMLCTL_INIT" ]; then # another program is to be process 1
    program=$UMLCTL_INIT
    unset UMLCTL_INIT
    exec "$program" "$@"
fi
files=read-only
[ -z "$UMLCTL_LAID_OVER" ] || files="which what it writes does not reach"
unset UMLCTL_LAID_OVER
HOME=/root TERM=${TERM:-linux}
export PATH HOME TERM
# Else later versions of mount(8) tell hostfs its directory in a way that it does not understand.
export LIBMOUNT_FORCE_MOUNT2=always

# What a system must write, the loopback device, and this kernel's modules. To begin a program costs
# a guest some 30 ms of the processor, so one of ours does it all where it was built, and else few.
agent=/run/agent session='/run/agent session'
boot() {
    mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /run
    [ -c /dev/null ] && [ -c /dev/tty0 ] || mount -t devtmpfs devtmpfs /dev
    scratch='/tmp /var/tmp /var/log /dev/shm' missing=
    for directory in $scratch /dev/pts /run/lock; do
        [ -d "$directory" ] || missing="$missing $directory"
    done
    [ -d /lib/modules ] || missing="$missing /run/modules/lib/modules" # see give_modules
    mkdir -p $missing 2>/dev/null
    {
        echo 'proc /proc proc nosuid,nodev,noexec'
        echo 'sysfs /sys sysfs nosuid,nodev,noexec'
        for directory in $scratch; do
            [ ! -d "$directory" ] || echo "tmpfs $directory tmpfs nosuid,nodev,mode=1777"
        done
        echo 'devpts /dev/pts devpts mode=620,ptmxmode=666'
        echo 'cgroup2 /sys/fs/cgroup cgroup2 nosuid,nodev,noexec' # which not every kernel has
    } >/run/fstab
    mount -a -T /run/fstab 2>/dev/null
    [ -d /proc/self ] && [ -w /tmp ] || mount -a -T /run/fstab # says why not all is mounted
    ip link set lo up 2>/dev/null
    [ -z "$UMLCTL_MODULES" ] || give_modules 2>/dev/null
    agent='' session='setsid -c'
}

# The modules of this kernel, which are not where the host has its own.
give_modules() {
    read -r _ _ release _ </proc/version
    [ ! -d "/lib/modules/$release" ] || return
    place=/lib/modules
    # Where no directory can be made there, the kernel and modprobe are told of another one.
    [ -d $place ] || place=/run/modules/lib/modules
    if [ -d "$UMLCTL_MODULES" ]; then
        mount --bind "$UMLCTL_MODULES" $place
    else # they are below what is covered here, as in /tmp
        LIBMOUNT_FORCE_MOUNT2=always mount -t hostfs -o "$UMLCTL_MODULES" none $place
    fi
    if [ ! -d "$place/$release" ]; then
        umount $place
    elif [ $place != /lib/modules ]; then
        printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' >/run/modules/modprobe
        chmod +x /run/modules/modprobe
        echo /run/modules/modprobe >/proc/sys/kernel/modprobe
    fi
}

[ -x "${0%/*}/agent" ] && "${0%/*}/agent" boot || boot
read -r hostname </proc/sys/kernel/hostname
# NAME,ADDRESS[,[GATEWAY],RESOLVER,...], more after a ';': the NICs that this guest was started with.
resolvers() { (IFS=,; for each in $1; do echo "nameserver $each"; done); }
[ -z "${UMLCTL_NICS-}" ] || echo "$UMLCTL_NICS" | tr ';' '\n' | while IFS=, read -r nic address gateway resolver; do
    [ -n "$nic" ] || continue
    ip link set "$nic" up && ip addr add "$address" dev "$nic"
    [ -z "$gateway" ] || ip route add default via "$gateway"
    [ -z "$resolver" ] || {
        file=$(readlink -m /etc/resolv.conf)
        case $file in
        /run/*) mkdir -p "${file%/*}" && resolvers "$resolver" >"$file" ;;
        *) resolvers "$resolver" >/run/resolv.conf && mount --bind /run/resolv.conf "$file" ;;
        esac
    }
done
unset UMLCTL_NICS

# What is said from outside: how large the window of a console's viewer is, that somebody would
# type on a console, where a shell is started if nobody has it open, and which file is collected,
# of which it is told how many bytes it has; and what is to be run beside all that.
heed() {
    while read -r what line rows columns; do
        case $what in
        size) stty -F "/dev/$line" rows "$rows" columns "$columns" ;;
        shell) is_open "/dev/$line" || setsid -fc sh -c "$shell" sh "$line" <>"/dev/$line" 1>&0 2>&0 ;;
        count)
            [ -f "$columns" ] && size=$(wc -c <"$columns") || size=none
            echo "$line $size" >/run/count~ && mv /run/count~ /run/count
            ;;
        run) eval "$line $rows $columns" </dev/null ;;
        esac
    done 2>/dev/null
}

is_open() {
    for file in /proc/[0-9]*/fd/*; do
        [ "$file" -ef "$1" ] && return
    done
    return 1
}

shell='${SHELL:-/bin/sh} -i; echo "umlctl: the shell on $1 has ended; attach anew for another"'

# Process 1 cannot be waited for, and a trap waits for what runs in the foreground: so the process
# that has Ctrl-Alt-Del end the guest reads until the shell has ended, and does the same. Only then
# is Ctrl-Alt-Del a SIGINT, instead of a reboot without sync: process 1 would hear it too late.
end() {
    trap off INT
    read -r pid _ </proc/self/stat
    echo "$pid" >/proc/sys/kernel/cad_pid
    echo 0 >/proc/sys/kernel/ctrl-alt-del
    [ -e /proc/mconsole ] && echo "userspace is up" >/proc/mconsole
    echo "umlctl: $hostname runs on the host's files, $files; \`exit\` ends it" >&3
    read -r _
    off
}

off() {
    trap '' INT
    [ ! -x "$agent" ] || exec "$agent" off
    kill -TERM -1 2>/dev/null
    sleep 0.1
    kill -KILL -1 2>/dev/null
    sync
    umount -a -r 2>/dev/null
    echo o >/proc/sysrq-trigger
    while :; do sleep 1; done
}

# FILE, more after a ';': modules of this kernel, in the order in which they need each other.
load_modules() {
    read -r _ _ release _ </proc/version
    place=/lib/modules/$release
    [ -d "$place" ] || place=/run/modules/lib/modules/$release
    echo "$UMLCTL_LOAD" | tr ';' '\n' | while read -r file; do
        insmod "$place/$file" || busybox insmod "$place/$file" ||
            echo "umlctl: the module $file could not be loaded" >/dev/tty0
    done
}

cd /
[ -z "$UMLCTL_LOAD" ] || load_modules 2>/dev/null
unset UMLCTL_LOAD
[ -z "$UMLCTL_MODULES" ] || [ -d /lib/modules ] || export MODPROBE_OPTIONS="-d /run/modules"
unset UMLCTL_MODULES
: >/run/shell
export PS1="$hostname:\$PWD# " # of dash and busybox; bash's own files may say another
exec 3>&1 2>/dev/null # who waits says which of them were ended
# No `&`: what a shell starts with it ignores Ctrl-C and Ctrl-\ for good, and all that it starts.
{
    $session "${SHELL:-/bin/sh}" -i </dev/tty0 >/dev/tty0 2>&1 3>&-
    :
} | end | heed </dev/ttyS63
off
