/*
 * Does for init.sh what would take several programs; a part of agent.c. To begin a program of the
 * host's costs a guest some 30 ms of the processor, and this one a few.
 *
 *     agent boot            mount what a guest on the host's files needs to be written, and leave
 *                           this program in /run; ends with 0 if all that it must have is there
 *     agent session PROGRAM [ARGUMENT...]
 *                           become a program whose terminal is its standard input
 *     agent off             end all processes, unmount all, and turn the guest off
 */

enum { NOSUID = 2, NODEV = 4, NOEXEC = 8, REMOUNT = 32, BIND_MOUNT = 4096, READ_ONLY = 1 };
enum { CREATE = 0100, TRUNCATE = 01000, SIGINT = 2, SIGTERM = 15 };
enum { TYPE_OF_MODE = 0170000, CHARACTER_DEVICE = 0020000, DIRECTORY_MODE = 0040000 };
enum {
	MOST_UNMOUNTED = 1 << 12,
	MOST_TRIES = 1000,      /* to unmount what is in use by processes that are about to end: their
	                         * last writes may take long on a busy host */
	TRY = 10,               /* ms between them */
};

/* Is raised whenever init.sh asks for something else: a checkout may have an older program. */
__attribute__((used)) static const char helps[] = "umlctl init 1";

#define COPY "/run/agent"
#define MODPROBE "/run/modules/modprobe"
#define MODULES "/lib/modules"

static const char *const scratch[] = { "/tmp", "/var/tmp", "/var/log", "/dev/shm", NULL };

static int is_type(const char *file, word type)
{
	word state[18];

	return CALL(STAT, file, state) == 0 && (state[3] & TYPE_OF_MODE) == type;
}

static int is_directory(const char *file)
{
	return is_type(file, DIRECTORY_MODE);
}

static int mounted(const char *type, const char *target, word flags, const char *options)
{
	return CALL(MOUNT, type, target, type, flags, options) == 0;
}

static void write_file(const char *file, const char *text, word mode)
{
	int to = (int)CALL(OPEN, file, WRONLY | CREATE | TRUNCATE | CLOEXEC, mode);

	write_all(to, text, length(text));
	CALL(CLOSE, to);
}

static int copy_itself(void)
{
	int from = (int)CALL(OPEN, "/proc/self/exe", RDONLY | CLOEXEC);
	int to = (int)CALL(OPEN, COPY, WRONLY | CREATE | TRUNCATE | CLOEXEC, 0755);
	word count;

	do {
		count = CALL(READ, from, buffer, sizeof buffer);
		if (count < 0 || write_all(to, buffer, count) < 0)
			return 0;
	} while (count);
	CALL(CLOSE, from);
	return CALL(CLOSE, to) == 0;
}

/* The modules of this kernel, which are not where the host has its own. */
static void give_modules(const char *source)
{
	char name[6][65], own[sizeof MODULES + 66], *place = MODULES;

	if (CALL(UNAME, name) < 0)
		return;
	append(append(own, MODULES "/"), name[2]);
	if (is_directory(own))
		return;
	/* Where no directory can be made there, the kernel and modprobe are told of another one. */
	if (!is_directory(place)) {
		place = "/run/modules" MODULES;
		if (parents(inside(place)) < 0)
			return;
	}
	/* They may be below what is covered here, as in /tmp. */
	if (is_directory(source) ? CALL(MOUNT, source, place, NULL, BIND_MOUNT, NULL)
			: CALL(MOUNT, "none", place, "hostfs", 0, source))
		return;
	append(append(append(path, place), "/"), name[2]);
	if (!is_directory(path)) {
		CALL(UMOUNT, place, 0);
	} else if (!same(place, MODULES)) {
		write_file(MODPROBE, "#!/bin/sh\nexec modprobe -d /run/modules \"$@\"\n", 0755);
		write_file("/proc/sys/kernel/modprobe", MODPROBE, 0);
	}
}

static int boot(char **environment)
{
	int at, whole;

	whole = mounted("tmpfs", "/run", NOSUID | NODEV, "mode=1777");
	if (!is_type("/dev/null", CHARACTER_DEVICE) || !is_type("/dev/tty0", CHARACTER_DEVICE))
		mounted("devtmpfs", "/dev", 0, NULL);
	whole &= mounted("proc", "/proc", NOSUID | NODEV | NOEXEC, NULL);
	mounted("sysfs", "/sys", NOSUID | NODEV | NOEXEC, NULL);
	for (at = 0; scratch[at]; at++) {
		if (!is_directory(scratch[at]))
			parents(inside(scratch[at]));
		if (is_directory(scratch[at]))
			whole &= mounted("tmpfs", scratch[at], NOSUID | NODEV, "mode=1777");
	}
	if (!is_directory("/dev/pts"))
		parents(inside("/dev/pts"));
	mounted("devpts", "/dev/pts", 0, "mode=620,ptmxmode=666");
	parents(inside("/run/lock"));
	mounted("cgroup2", "/sys/fs/cgroup", NOSUID | NODEV | NOEXEC, NULL); /* not every kernel has it */
	loopback();
	for (at = 0; environment[at]; at++)
		if (begins(environment[at], "UMLCTL_MODULES=/"))
			give_modules(environment[at] + length("UMLCTL_MODULES="));
	return whole && copy_itself();
}

static void session(char **words, char **environment)
{
	CALL(SETSID, 0);
	CALL(IOCTL, 0, 0x540e, 0); /* TIOCSCTTY */
	while (words[argument_count] && argument_count < (1 << 15) - 2)
		arguments[argument_count] = words[argument_count], argument_count++;
	while (environment[variable_count] && variable_count < (1 << 15) - 1)
		variables[variable_count] = environment[variable_count], variable_count++;
	execute();
	append(append(append(buffer, "umlctl: cannot run "), words[0]), "\n");
	write_all(2, buffer, length(buffer));
}

static struct { char *path; int is_disk; } unmounted[MOST_UNMOUNTED];
static word unmounted_count;

/* Not what is no file system with files of its own: others look there to the end. */
static void add_unmounted(const struct mounted *mount)
{
	static const char *const kept[] = { "proc", "sysfs", "devpts", "devtmpfs", "rpc_pipefs",
		"nfsd", "selinuxfs", NULL };
	int at;

	for (at = 0; kept[at]; at++)
		if (same(mount->type, kept[at]))
			return;
	if (unmounted_count < MOST_UNMOUNTED) {
		unmounted[unmounted_count].path = mount->path;
		unmounted[unmounted_count++].is_disk = !same(mount->type, "tmpfs");
	}
}

/* Whether nothing can be written there any more, or nothing that is there then. */
static int unmount(word at)
{
	const char *target = unmounted[at].path;

	return CALL(UMOUNT, target, 0) != -EBUSY || !unmounted[at].is_disk ||
		CALL(MOUNT, "none", target, NULL, REMOUNT | READ_ONLY, NULL) != -EBUSY;
}

static void turn_off(void)
{
	word at, left, tries;

	set_signal(SIGINT, 1); /* ignored: it asks for this */
	CALL(KILL, -1, SIGTERM);
	CALL(POLL, 0, 0, 100);
	CALL(KILL, -1, SIGKILL);
	CALL(SYNC, 0);
	each_mount(add_unmounted);
	for (tries = 0; tries < MOST_TRIES; tries++) {
		for (left = 0, at = unmounted_count - 1; at >= 0; at--)
			left += !unmount(at);
		if (!left)
			break;
		CALL(POLL, 0, 0, TRY);
	}
	CALL(SYNC, 0);
	write_file("/proc/sysrq-trigger", "o", 0);
	for (;;)
		CALL(POLL, 0, 0, 1000);
}

/* words: of the command line, the last of which is no directory; behind their end is the
 * environment. */
static void help_init(char **words)
{
	char **environment = words;

	while (*environment++)
		;
	prefix = "";
	if (same(words[1], "boot"))
		CALL(EXIT, !boot(environment));
	if (same(words[1], "off"))
		turn_off();
	if (same(words[1], "session") && words[2])
		session(words + 2, environment);
	if (*words[1] != '-')
		CALL(EXIT, 127);
}
