/*
 * Freezes the file systems of a guest for a snapshot of its disks, and thaws them; a part of
 * agent.c.
 *
 * What is frozen is thawed when the host says so or is gone, after a time, and when this process is
 * killed: the process that freezes waits for that. It is another one than that which listens, since
 * a file system that lies on one that is frozen already would never freeze.
 */

enum { FREEZE = 0xc0045877, THAW = 0xc0045878 };
enum {
	MOST_SYSTEMS = 64,
	MOST_MOUNTS = 1 << 20,  /* bytes of the list of mounts */
	MOST_FROZEN = 60,       /* s that the guest has run meanwhile */
	MOST_THAWING = 600,     /* tries, TICK ms each, where one waits for another */
	TICK = 100,
};

struct mounted {
	word major, minor;      /* of its file system */
	char *path, *type, *source, *options;
};

static struct { word major, minor; int file, is_thawing; } systems[MOST_SYSTEMS];
static word system_count, missed_count;
static char *mounts, *mounts_end;

/* What the kernel has written as \040 and the like. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++)
		if (*text == '\\' && text[1] && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
			text += 3;
		} else {
			*to++ = *text;
		}
	*to = 0;
}

static char *field(char **at)
{
	char *begin = *at;

	while (**at && **at != ' ')
		++*at;
	if (**at)
		*(*at)++ = 0;
	return begin;
}

/* A line of /proc/self/mountinfo, see proc(5). */
static void read_mount(char *line, struct mounted *mount)
{
	const char *numbers;

	field(&line);
	field(&line);
	numbers = field(&line);
	mount->major = number(&numbers);
	numbers += *numbers == ':';
	mount->minor = number(&numbers);
	field(&line);
	mount->path = field(&line);
	unescape(mount->path);
	while (*line && !same(field(&line), "-"))
		;
	mount->type = field(&line);
	mount->source = field(&line);
	mount->options = field(&line);
}

/* Whether something on a disk can be written there. A process of the guest's answers for fuse, and
 * may wait for what is frozen. */
static int is_wanted(const struct mounted *mount)
{
	return mount->source[0] == '/' && !begins(mount->type, "fuse") &&
		!same(mount->type, "hostfs") && !same(mount->type, "overlay") &&
		!same(mount->options, "ro") && !begins(mount->options, "ro,");
}

/* Its file system, opened; another one may be mounted over it. */
static int opened(const struct mounted *mount)
{
	word state[18];
	int file = (int)CALL(OPEN, mount->path, RDONLY | NONBLOCK | NOCTTY | CLOEXEC);

	if (file < 0)
		return -1;
	if (CALL(FSTAT, file, state) == 0 && (same(mount->type, "btrfs") ||
			(((state[0] >> 8) & 0xfff) == mount->major &&
			 ((state[0] & 0xff) | ((state[0] >> 12) & 0xfff00)) == mount->minor)))
		return file;
	CALL(CLOSE, file);
	return -1;
}

/* The file systems, each once, in the order in which they were first mounted. */
static void add_system(const struct mounted *mount)
{
	word at = 0;

	if (!is_wanted(mount))
		return;
	while (at < system_count && (systems[at].major != mount->major ||
			systems[at].minor != mount->minor))
		at++;
	if (at == MOST_SYSTEMS) {
		missed_count++;
		return;
	}
	if (at == system_count) {
		systems[at].major = mount->major;
		systems[at].minor = mount->minor;
		systems[at].file = -1;
		system_count++;
	}
	if (systems[at].file < 0)
		systems[at].file = opened(mount);
}

/* What is mounted, each handed to `take` in the order in which it was. */
static word each_mount(void (*take)(const struct mounted *))
{
	int file = (int)CALL(OPEN, "/proc/self/mountinfo", RDONLY | CLOEXEC);
	char *line;
	word count = 0, done;

	if (file < 0)
		return file;
	mounts = (char *)CALL(MMAP, NULL, MOST_MOUNTS + 1, 3, 0x22, -1, 0);
	while (count < MOST_MOUNTS &&
			(done = CALL(READ, file, mounts + count, MOST_MOUNTS - count)) > 0)
		count += done;
	CALL(CLOSE, file);
	mounts_end = mounts + count;
	for (line = mounts; line < mounts_end;) {
		struct mounted mount;
		char *end = line;

		while (end < mounts_end && *end != '\n')
			end++;
		if (end == mounts_end)
			break;
		*end = 0;
		read_mount(line, &mount);
		take(&mount);
		line = end + 1;
	}
	return 0;
}

/* Has all that is frozen be thawed, each by a process of its own: one that lies on another writes as
 * it is thawed. How many are not thawed yet. */
static word thaw(void)
{
	word at, left = 0;

	for (at = 0; at < system_count; at++) {
		if (!shared->is_frozen[at])
			continue;
		left++;
		if (systems[at].is_thawing)
			continue;
		systems[at].is_thawing = 1;
		if (CALL(FORK, 0) == 0) {
			CALL(IOCTL, systems[at].file, THAW, 0);
			shared->is_frozen[at] = 0;
			CALL(EXIT, 0);
		}
	}
	return left;
}

/* In a process of its own. done: is told when all that can be is frozen; ends: ends with its
 * parent. */
static void freezer(int done, int ends)
{
	char none;
	word at;

	CALL(SYNC, 0); /* what cannot be frozen is written at least */
	for (at = system_count - 1; at >= 0 && !shared->is_over; at--) {
		word result = systems[at].file < 0 ? -ENOENT :
			CALL(IOCTL, systems[at].file, FREEZE, 0);

		if (result == 0)
			shared->is_frozen[at] = 1, shared->frozen++;
		else if (result == -EBUSY) /* by somebody else, who thaws it */
			shared->frozen++;
	}
	if (!shared->is_over)
		CALL(WRITE, done, "", 1);
	CALL(CLOSE, done);
	while (CALL(READ, ends, &none, 1) == -EINTR)
		;
	while (thaw())
		CALL(POLL, 0, 0, TICK);
	CALL(EXIT, 0);
}

/* Listens until it is to be thawed. */
static void stay_frozen(int done)
{
	struct { int fd; short events, seen; } wait[2] = { { control, 1, 0 }, { done, 1, 0 } };
	word left = MOST_FROZEN * 1000 / TICK;
	char text[256];

	while (left > 0) {
		wait[1].seen = 0;
		if (CALL(POLL, wait, 2, TICK) == 0)
			left--;
		if (wait[1].seen) {
			wait[1].fd = -1;
			say("frozen", shared->frozen, missed_count + system_count - shared->frozen);
		}
		if (wait[0].seen && !hear())
			return;
		while (next_line(text))
			if (same(text, "bye"))
				return;
	}
}

static void freeze(void)
{
	int done[2], ends[2], left;
	char none;
	word result = each_mount(add_system);

	if (result < 0) {
		say("failed", 1 << 20, -result);
		return;
	}
	CALL(PIPE2, done, CLOEXEC | NONBLOCK);
	CALL(PIPE2, ends, CLOEXEC);
	result = CALL(FORK, 0);
	if (result == 0) {
		CALL(CLOSE, ends[1]);
		CALL(CLOSE, done[0]);
		freezer(done[1], ends[0]);
	}
	CALL(CLOSE, done[1]);
	if (result > 0)
		stay_frozen(done[0]);
	shared->is_over = 1;
	/* The freezer may be at one still that lies on another, and closes `done` behind the last. */
	for (left = MOST_THAWING; left > 0; left--) {
		if (CALL(READ, done[0], &none, 1) == 0 && thaw() == 0)
			break;
		thaw();
		CALL(POLL, 0, 0, left > MOST_THAWING - 20 ? 5 : TICK);
	}
	off();
}
