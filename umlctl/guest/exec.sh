#!/bin/sh
# Runs one command in a guest, where agent.c could not be built or executed: it does the same, see
# there, and takes longer, since each program that it runs does.
#
# usage: sh exec.sh [-LINE] DIRECTORY
#
# The kernel of an ordinary user may run in a user namespace, and sees root's files as nobody's
# there: a set-user-ID program of root, such as mount, would turn root into nobody.
if [ ! -O / ] && [ -z "$UMLCTL_AS_ROOT" ]; then
    UMLCTL_AS_ROOT=1 exec setpriv --no-new-privs sh "$0" "$@"
fi
unset UMLCTL_AS_ROOT
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Else later versions of mount(8) tell hostfs its directory in a way that it does not understand.
export PATH LIBMOUNT_FORCE_MOUNT2=always
base=/proc root=/proc/root line=60
case $1 in
-*)
    line=${1#-} root=/ base=/run/umlctl-exec${1#-}
    shift
    [ -n "$UMLCTL_DETACHED" ] || UMLCTL_DETACHED=1 exec setsid -f sh "$0" "-$line" "$1"
    unset UMLCTL_DETACHED
    exec </dev/null >/dev/null 2>&1
    rm -rf "$base"
    mkdir -p "$base"
    ;;
esac
place=$1
control=/dev/ttyS$line out=/dev/ttyS$((line + 1)) err=/dev/ttyS$((line + 2))
token='' kinds=ppp rows=24 columns=80 directory=/ script='' is_freezer=''

[ -c "$control" ] || mount -t devtmpfs devtmpfs /dev
exec 3<>"$control"
stty raw -echo <&3

say() { echo "$*" >&3; }

off() {
    [ "$root" != / ] || leave
    sync
    echo o >$base/sysrq-trigger || echo o >$root/proc/sysrq-trigger
    while :; do sleep 1; done
} 2>/dev/null

# Ends in a guest that goes on. Unless the command has ended, its process group does now.
leave() {
    if [ ! -e "$base/over" ] && read -r pid <"$base/pid"; then
        kill -HUP "-$pid"
        kill -CONT "-$pid"
        sleep 0.2
        kill -KILL "-$pid"
        sleep 0.2
    fi
    rm -rf "$base"
    say over
    kill -KILL 0
} 2>/dev/null

# It has failed, and the host knows: nothing is left to do but to end when it says so.
await_end() {
    while read -r word _ <&3; do
        [ "$word" = bye ] && break
    done
    off
}

# The steps, by their letters; why one has failed is known no better than that it has.
failed() {
    say "failed $1 ${problem:-5}"
    await_end
}

scratch() { mount -t tmpfs -o size=80%,mode=755 tmpfs $base; }

# Python makes the call, finit_module(2), where no other program does.
load() {
    insmod "$1" || busybox insmod "$1" || python3 -IS -c 'import ctypes, os, sys
sys.exit(ctypes.CDLL(None).syscall(313, os.open(sys.argv[1], 0), b"", 0) != 0)' "$1"
}

step_m() {
    [ -e "$1" ] || { problem=2; return 1; }
    load "$1" && return
    name=${1##*/}
    mount -t proc proc $base && grep -q "^${name%.ko} " $base/modules # it is there already
} 2>/dev/null

step_o() {
    scratch && mkdir $base/kept $root || return
    [ -z "$1" ] || mount -t ext4 "$1" $base/kept || return
    mkdir -p $base/kept/upper $base/kept/work
    # With proc below, mount(8) itself can tell what it has done.
    mount -t overlay -o "lowerdir=/,upperdir=$base/kept/upper,workdir=$base/kept/work" \
        overlay $root && return
    problem=19
    return 1
}

step_v() { scratch && mkdir $root && mount --bind / $root; }

step_p() {
    flags=
    [ $(($4 & 1)) = 0 ] || flags=$flags,ro
    [ $(($4 & 2)) = 0 ] || flags=$flags,nosuid
    [ $(($4 & 4)) = 0 ] || flags=$flags,nodev
    [ $(($4 & 8)) = 0 ] || flags=$flags,noexec
    if [ $(($4 & 4096)) != 0 ]; then
        mount --bind "$2" "$root$3"
    elif [ "$1" = hostfs ]; then
        chroot $root mount -i -t hostfs -o "$5$flags" none "$3"
    else
        options=$5$flags
        chroot $root mount -t "$1" ${options:+-o "${options#,}"} "$2" "$3"
    fi
} 2>/dev/null

step_d() { [ -d "$root$1" ] || chroot $root mkdir -p "$1"; } 2>/dev/null
step_l() { [ -L "$root$2" ] || ln -s "$1" "$root$2"; } 2>/dev/null
step_r() { :; }
step_n() {
    ip link set lo up || python3 -IS -c 'import fcntl, socket, struct
any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(any, 0x8914, struct.pack("16sh22x", b"lo", 1))' || :
} 2>/dev/null
step_q() { :; }
step_s() { script=$1; }
step_k() { kinds=$1; }
step_w() { rows=${1% *} columns=${1#* }; }
step_t() { token=$1; }
step_c() { directory=$1; }
step_f() { is_freezer=1; }

# File systems are frozen for a snapshot, in place of a command, and thawed when the host says so or
# is gone, or after a time.
freeze() {
    sync
    find_mounts
    list=$mounts
    ( sleep 60; thaw ) &
    while [ -n "$list" ]; do
        if fsfreeze -f "${list%%"$newline"*}"; then
            frozen=$((frozen + 1))
        else
            missed=$((missed + 1))
        fi
        list=${list#*"$newline"}
    done
    say "frozen $frozen $missed"
    while read -r word _ <&3 && [ "$word" != bye ]; do :; done
    thaw
    off
} 2>/dev/null

# All at once: one that lies on another writes as it is thawed.
thaw() {
    list=$mounts pids=''
    while [ -n "$list" ]; do
        fsfreeze -u "${list%%"$newline"*}" &
        pids="$pids $!"
        list=${list#*"$newline"}
    done
    wait $pids
}

# One mount of each file system on a disk, a line each; what was mounted last comes first: it may lie
# on another. A process of the guest's answers for fuse, and may wait for what is frozen.
find_mounts() {
    newline='
' mounts='' seen=' ' frozen=0 missed=0
    while read -r _ _ device _ place _ rest; do
        case $rest in
        "- "*) rest=${rest#- } ;;
        *) rest=${rest#* - } ;;
        esac
        case $rest in fuse* | hostfs\ * | *\ ro | *\ ro,*) continue ;; esac
        case $rest in *\ /*) ;; *) continue ;; esac
        case $seen in *" $device "*) continue ;; esac
        seen="$seen$device "
        case $place in *\\*) place=$(printf %b "$(printf %s "$place" | sed 's/\\/\\0/g')") ;; esac
        mounts=$place$newline$mounts
    done </proc/self/mountinfo
}

# What the host says while the command runs.
heed() {
    while read -r word first second; do
        case $word in
        in) echo "$first" >&7 ;;
        signal)
            hand_over "$first"
            say "heard $first"
            ;;
        size) stty rows "$first" columns "$second" <$out ;;
        shut) read -r pump <"$base/pump$first" && kill "$pump" ;;
        bye) off ;;
        esac
    done <&3
    off
} 2>/dev/null

hand_over() {
    if [ "$1" = 18 ] && [ -e $base/stopped ]; then
        rm $base/stopped
        echo go >$base/again
    elif read -r pid <$base/pid; then
        kill "-$1" "-$pid"
    fi
}

# One direction of a stream: what comes from a FIFO goes to a line, and the token behind it.
pump() {
    trap '' PIPE
    (
        read -r pid _ <$root/proc/self/stat
        echo "$pid" >"$base/pump$1"
        exec cat <"$base/stream$(($1 + 1))" >&"$2"
    )
    printf %s "$token" >&"$2"
}

feed() {
    trap '' PIPE
    open=1
    while read -r which; do
        [ "$which" = 0 ] && break
        if [ -n "$open" ] && ! cat "$place/$which" >&8; then
            open=
            say closed 0
        fi
        say "taken $which"
    done
    exec 8>&-
    while read -r which; do say "taken $which"; done
} 2>/dev/null

# A command that ends by signal N says 128+N, as one does that exits so: the host says the same.
ended() {
    if [ "$1" -gt 128 ] && [ "$1" -lt 193 ]; then
        say "status $(($1 - 128))"
    else
        say "status $(($1 << 8))"
    fi
}

begin='cd "$0" 2>/dev/null || { echo "nowhere 2" >&3; exit 125; }
exec 3>&-
exec "$@"'
run_piped() {
    (
        read -r pid _ <$root/proc/self/stat
        echo "$pid" >$base/pid
        exec 4>&- 5>&- 7>&- 8>&-
        exec setsid chroot $root sh -c "$begin" "$directory" env -i "$@"
    ) <"$input" >"$output" 2>"$error"
    status=$?
}

# The command is told its terminal by its session's first process, a shell with jobs: that sees
# the command stop.
run_on_terminal() {
    stty sane rows "$rows" columns "$columns" <$out
    mkfifo $base/again
    cat >$base/lead <<'END'
base=$1 root=$2 directory=$3 begin=$4 error=$5
shift 5
set -m
(
    read -r pid _ <$root/proc/self/stat
    echo "$pid" >$base/pid
    exec chroot $root sh -c "$begin" "$directory" env -i "$@"
) 2>"$error"
status=$?
jobs >$base/jobs
while [ -s $base/jobs ]; do
    : >$base/stopped
    echo "stopped 20" >&3
    read -r _ <$base/again
    fg >/dev/null
    status=$?
    jobs >$base/jobs
done
echo "$status" >$base/status
stty sane # which waits until all is sent: the terminal is hung up with this process
END
    setsid -c sh $base/lead $base $root "$directory" "$begin" "$error" "$@" \
        <>$out >&0 2>&0 4>&- 5>&- 7>&- 8>&-
    status=$?
    [ ! -s $base/status ] || read -r status <$base/status
    printf %s "$token" >$out
}

run() {
    if [ -n "$script" ]; then
        chroot $root sh -c "$script" >/dev/console 2>&1 || { say "unprepared $?"; await_end; }
    fi
    exec 4>$out 5>$err
    stty raw -echo <$err
    mkfifo $base/stream0 $base/stream1 $base/stream2 $base/numbers
    exec 7<>$base/numbers
    input=/dev/null output=/dev/null error=/dev/null
    case $kinds in
    p??)
        input=$base/stream0
        { feed <$base/numbers 7>&- 8>$base/stream0 & } 2>/dev/null
        ;;
    t??) input=$out ;;
    esac
    case $kinds in
    ?p?)
        stty raw -echo <$out
        output=$base/stream1
        pump 0 4 &
        ;;
    esac
    case $kinds in
    ??p)
        error=$base/stream2
        pump 1 5 &
        ;;
    ??t) error=$out ;;
    esac
    say began
    heed &
    # In the foreground: what a shell starts with `&` ignores SIGINT and SIGQUIT for good.
    case $kinds in
    t*) run_on_terminal "$@" ;;
    *) run_piped "$@" ;;
    esac
    : >$base/over
    ended "$status"
    # What it has left running would hold its streams open for ever. In a guest that goes on, it
    # goes on too, and who reads the streams gives them up after a while.
    [ "$root" = / ] || { read -r pid <$base/pid && kill -KILL "-$pid"; }
    exec 4>&- 5>&-
    while :; do wait; sleep 60; done
} 2>/dev/null

say up
while read -r word <&3 && [ "$word" != go ]; do :; done
[ -e "$place/steps" ] || failed 1048576
set --
. "$place/steps"
[ -z "$is_freezer" ] || freeze
run "$@"
