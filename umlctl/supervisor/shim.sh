# The tiny parent of a guest's kernel; it outlives the supervisor, and holds the guest's lock (9),
# the run directory's (8) and the pidfile's (7).
#
# usage: sh shim.sh DIRECTORY LOG CWD CGROUP LIMITS TELLS SCOPE KERNEL [ARGUMENTS...]
#
# Starts the kernel, says its pid, waits, and writes down how it ended. SCOPE is what ends with
# the kernel whatever kills it: what it traces must not be let go, to run on as a process of this
# host. It is options of unshare(1): in a namespace of pids the kernel is process 1, and the host
# ends all others with it, at once. Where there is none to be had, its process `group` is killed
# here, a moment later.
#
# CGROUP is the guest's, which the kernel enters, or empty. With LIMITS, as in `memory.max=BYTES`,
# it has yet to be made: we were started in a scope that systemd has delegated, and CGROUP is
# where cgroups are mounted. We move to one half of the scope, and limit the other.
if [ "$1" = kernel ]; then
    # The pid is the host's even inside a pid namespace, since this /proc is the host's.
    log=$3 cgroup=$4 tells=$5
    shift 5
    if [ -n "$cgroup" ]; then echo 0 >"$cgroup/cgroup.procs" || exit 126; fi
    read -r pid rest </proc/self/stat
    if [ -n "$tells" ]; then
        printf %s "$pid"
        exec "$@" 6>&1 9>&- 8>&- 7>&- >&2 # which is the log, open before: nothing is to be open
        # for writing by the mounts that it makes read-only
    fi
    echo "$pid"
    exec "$@" 9>&- 8>&- 7>&- </dev/null >>"$log" 2>&1
fi
directory=$1 log=$2 cwd=$3 cgroup=$4 limits=$5 tells=$6 scope=$7
shift 7
umask 077
ulimit -c 0
if [ -n "$limits" ]; then
    own=
    while read -r line; do
        case $line in 0::*) own=$cgroup${line#0::} ;; esac
    done </proc/self/cgroup
    cgroup=$own/guest
    mkdir "${own:?is unknown}/shim" "$cgroup" && echo $$ >"$own/shim/cgroup.procs" || exit 126
    for limit in $limits; do
        file=$cgroup/${limit%%=*}
        echo "+${limit%%.*}" >"$own/cgroup.subtree_control" || exit 126
        case $limit in memory.swap.max=*) [ -e "$file" ] || continue ;; esac
        echo "${limit#*=}" >"$file" || exit 126
    done
fi
cd "$cwd" || exit 126
set -- sh "$0" kernel "$directory" "$log" "$cgroup" "$tells" "$@"
case $scope in
group) ;;
*) set -- unshare $scope --fork --kill-child "$@" ;; # as many words as there are
esac
rm -f "$directory/status"
printf '%32s\n' '' >"$directory/status~" # the room for it, though the disk be full by then
"$@" &
main=$!
exec >/dev/null
wait "$main"
status=$?
[ "$scope" = group ] && kill -KILL "-$main" 2>/dev/null # dash takes no -- here
# By its own limit, and not that of the host or of a cgroup above.
[ -n "$cgroup" ] && grep -q '^oom [^0]' "$cgroup/memory.events" 2>/dev/null &&
    grep -q '^oom_kill [^0]' "$cgroup/memory.events" && status="$status starved"
echo "$status" 1<>"$directory/status~" && mv "$directory/status~" "$directory/status"
exit 0
