# The tiny parent of a guest's kernel; it outlives the supervisor.
#
# usage: sh shim.sh DIRECTORY LOG CWD SCOPE KERNEL [ARGUMENTS...]
#
# Opens the console (the FIFO for reading and writing, so that it never sees an end; the log for
# appending), says the kernel's pid, waits, and the moment the kernel is gone kills all that it
# left: a traced process that is let go would run on as a process of this host. SCOPE is what
# to kill: `namespace` where this shell is pid 1 of one, else `group`. Then it writes down how the
# kernel ended.
directory=$1 log=$2 cwd=$3 scope=$4
shift 4
umask 077
ulimit -c 0
cd "$cwd" || exit 126
(
    # The host's pid even inside a pid namespace: this /proc is the host's.
    read -r pid rest </proc/self/stat
    echo "$pid"
    exec "$@" 3<>"$directory/console" 4>>"$log" 9>&- </dev/null >>"$log" 2>&1
) &
main=$!
exec >/dev/null
wait "$main"
status=$?
if [ "$scope" = namespace ]; then
    kill -KILL -1
else
    kill -KILL -- "-$main"
fi 2>/dev/null
echo "$status" >"$directory/status~" && mv "$directory/status~" "$directory/status"
exit 0
