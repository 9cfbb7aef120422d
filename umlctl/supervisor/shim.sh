# The tiny parent of a guest's kernel; it outlives the supervisor, and holds the guest's lock.
#
# usage: sh shim.sh DIRECTORY LOG CWD PROCS SCOPE KERNEL [ARGUMENTS...]
#
# Starts the kernel, says its pid, waits, and writes down how it ended. SCOPE is what ends with
# the kernel whatever kills it: what it traces must not be let go, to run on as a process of this
# host. In a `namespace` (of pids) or a `user` namespace the kernel is process 1, and the host
# ends all others with it, at once. Where neither is to be had, its process `group` is killed
# here, a moment later. PROCS is the file by which a process enters the guest's cgroup, or empty.
if [ "$1" = kernel ]; then
    # Opens the console, the FIFO for reading and writing so that it never sees an end. The pid
    # is the host's even inside a pid namespace, since this /proc is the host's.
    directory=$2 log=$3 procs=$4
    shift 4
    if [ -n "$procs" ]; then echo 0 >"$procs" || exit 126; fi
    read -r pid rest </proc/self/stat
    echo "$pid"
    exec "$@" 3<>"$directory/con0.in" 4>>"$log" 9>&- </dev/null >>"$log" 2>&1
fi
directory=$1 log=$2 cwd=$3 procs=$4 scope=$5
shift 5
umask 077
ulimit -c 0
cd "$cwd" || exit 126
set -- sh "$0" kernel "$directory" "$log" "$procs" "$@"
case $scope in
namespace) set -- unshare --pid --fork --kill-child "$@" ;;
user) set -- unshare --user --map-current-user --pid --fork --kill-child "$@" ;;
esac
rm -f "$directory/status"
"$@" &
main=$!
exec >/dev/null
wait "$main"
status=$?
[ "$scope" = group ] && kill -KILL "-$main" 2>/dev/null # dash takes no -- here
echo "$status" >"$directory/status~" && mv "$directory/status~" "$directory/status"
exit 0
