/*
 * Runs one command in a guest, see umlctl-exec(1): as process 1 of a guest that is there for that
 * command, or in a guest that is there anyway.
 *
 *     agent DIRECTORY
 *     agent -LINE DIRECTORY
 *
 * In a guest on the host's files it does for init.sh what would take several programs, see booting.h.
 *
 * It is freestanding and static, since most of what such a guest costs is what it executes: a
 * program with a C library takes 30 ms and more to begin there, this one takes a few. It does
 * what exec.sh does, which stands in for it where it was not built.
 *
 * The host is told, and tells, lines on ttyS60, the control line (umlctl/protocol/control_line.py).
 * In a guest that is there anyway it is ttySLINE, and those that follow are for the streams.
 * In DIRECTORY, a directory of the host, is the file `steps`, which says what is to be done
 * (umlctl/guest/command.py), and what the command reads comes there too, in files with numbers
 * for names. What the command writes goes to ttyS61 and ttyS62, and behind its last byte a token
 * that the host has made up: a line of the kernel has no end that can be seen.
 */

typedef long word;

#define NULL ((void *)0)

enum {
	READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, STAT = 4, FSTAT = 5, POLL = 7, MMAP = 9, SIGACTION = 13,
	SIGPROCMASK = 14, IOCTL = 16, PIPE2 = 293, DUP2 = 33, GETPID = 39, SOCKET = 41, FORK = 57,
	EXECVE = 59, EXIT = 60, WAIT4 = 61, KILL = 62, UNAME = 63, FCHDIR = 81, CHDIR = 80, MKDIR = 83,
	SYMLINK = 88, SETPGID = 109, SETSID = 112,
	PRCTL = 157, CHROOT = 161, SYNC = 162, MOUNT = 165, UMOUNT = 166, REBOOT = 169, OPENAT = 257,
	SIGNALFD4 = 289, FINIT_MODULE = 313, UMASK = 95,
};
/* None that needs more than an int is among them: all would be unsigned by C23, and not below 0. */
enum { ENOENT = 2, ENOEXEC = 8, EACCES = 13, EEXIST = 17, ENOTDIR = 20, EINTR = 4, EBUSY = 16 };
_Static_assert(-EBUSY < 0, "calls return -EBUSY");
enum { RDONLY = 0, WRONLY = 1, RDWR = 2, NOCTTY = 0400, CLOEXEC = 02000000, DIRECTORY = 0200000,
	NONBLOCK = 04000 };
enum { SIGHUP = 1, SIGKILL = 9, SIGUSR1 = 10, SIGUSR2 = 12, SIGPIPE = 13, SIGCHLD = 17, SIGCONT = 18, SIGTTOU = 22 };
enum { MS_MOVE = 8192 };

#define GRACE 200 /* ms: how long a stream that is silent is kept open behind the command */
#define BASE "/proc"
#define ROOT "/proc/root"

/* The host sees its own files as the guest's root; the one thing that is always there to mount
 * something on is BASE. */

static word call6(word number, word a, word b, word c, word d, word e, word f)
{
	register word r10 __asm__("r10") = d;
	register word r8 __asm__("r8") = e;
	register word r9 __asm__("r9") = f;
	word result;

	__asm__ volatile("syscall" : "=a"(result)
		: "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return result;
}

#define CALL(number, ...) CALL_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(number, a, b, c, d, e, f, ...) \
	call6(number, (word)(a), (word)(b), (word)(c), (word)(d), (word)(e), (word)(f))

void *memset(void *to, int byte, unsigned long count)
{
	char *at = to;

	while (count--)
		*at++ = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long count)
{
	char *at = to;
	const char *source = from;

	while (count--)
		*at++ = *source++;
	return to;
}

static word length(const char *text)
{
	word count = 0;

	while (text[count])
		count++;
	return count;
}

static int begins(const char *text, const char *with)
{
	while (*with)
		if (*text++ != *with++)
			return 0;
	return 1;
}

static int same(const char *text, const char *other)
{
	return begins(text, other) && length(text) == length(other);
}

static word number(const char **text)
{
	word value = 0;

	while (**text == ' ')
		++*text;
	while (**text >= '0' && **text <= '9')
		value = value * 10 + (*(*text)++ - '0');
	return value;
}

static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

static char *append_number(char *to, word value)
{
	char digits[24];
	char *at = digits + sizeof digits;

	*--at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	return append(to, at);
}

static word write_all(int to, const char *data, word count)
{
	while (count > 0) {
		word done = CALL(WRITE, to, data, count);

		if (done == -EINTR)
			continue;
		if (done < 0)
			return done;
		data += done;
		count -= done;
	}
	return 0;
}

/* What all of this program's processes share. */

struct shared {
	volatile word pid;     /* of the command; its process group */
	volatile word status;  /* how it ended, as wait(2) has it */
	volatile word problem; /* why it was not executed: an errno */
	volatile word where;   /* 0: to execute it, 1: to enter its directory */
	volatile word frozen;  /* how many file systems are, see freezing.h */
	volatile word is_over; /* no more are to be */
	volatile char is_frozen[64];
};

static struct shared *shared;
static int control = -1, place = -1, feed = -1;
static char *token = "";
static word first_line = 60; /* the control line's number */
static word pumps[2];        /* processes that pass on what the command writes */
static int is_over;          /* the host knows how the command has ended */

static void say(const char *what, word first, word second)
{
	char line[80];
	char *end = append(line, what);

	if (first >= 0)
		end = append_number(append(end, " "), first);
	if (second >= 0)
		end = append_number(append(end, " "), second);
	end = append(end, "\n");
	write_all(control, line, end - line);
}

/* Ends in a guest that goes on. Unless the command has ended, its process group does now. */
static void leave(void)
{
	int at;

	if (!is_over && shared->pid > 1) {
		CALL(KILL, -shared->pid, SIGHUP);
		CALL(KILL, -shared->pid, SIGCONT);
		CALL(POLL, 0, 0, GRACE);
		CALL(KILL, -shared->pid, SIGKILL);
		for (at = 0; at < 2; at++)
			if (pumps[at] > 1)
				CALL(KILL, pumps[at], SIGUSR1);
		CALL(POLL, 0, 0, 2 * GRACE);
	}
	say("over", -1, -1);
	CALL(KILL, 0, SIGKILL); /* with those that pass something on */
}

static void off(void)
{
	if (first_line != 60)
		leave();
	CALL(SYNC, 0);
	CALL(REBOOT, 0xfee1dead, 672274793, 0x4321fedc, 0);
	for (;;)
		CALL(POLL, 0, 0, 1000);
}

/* Signals that a process waits for rather than has handled. */

static int signals_of(word mask)
{
	CALL(SIGPROCMASK, 0, &mask, NULL, 8);
	return (int)CALL(SIGNALFD4, -1, &mask, 8, CLOEXEC);
}

#define BIT(number) (1L << ((number) - 1))

static int taken_signal(int signals)
{
	int info[32];

	return CALL(READ, signals, info, sizeof info) > 0 ? info[0] : 0;
}

static void set_signal(int number, word handler)
{
	word action[4] = { handler, 0, 0, 0 };

	CALL(SIGACTION, number, action, NULL, 8);
}

/* Lines */

struct termios {
	unsigned input, output, mode, local;
	unsigned char line, characters[19];
};

static void raw(int line)
{
	struct termios modes;

	CALL(IOCTL, line, 0x5401, &modes);
	modes.input = 0;
	modes.output = 0;
	modes.local = 0;
	modes.characters[6] = 1; /* VMIN */
	modes.characters[5] = 0; /* VTIME */
	CALL(IOCTL, line, 0x5402, &modes);
}

/* As the kernel makes a terminal: the command before may have left it otherwise. */
static void cooked(int line)
{
	static const char characters[19] =
		"\003\034\177\025\004\000\001\000\021\023\032\000\022\017\027\026";
	struct termios modes;

	CALL(IOCTL, line, 0x5401, &modes);
	modes.input = 0x500;  /* ICRNL IXON */
	modes.output = 5;     /* OPOST ONLCR */
	modes.local = 0x8a3b; /* ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN */
	memcpy(modes.characters, characters, sizeof characters);
	CALL(IOCTL, line, 0x5402, &modes);
}

static int line_of(int which)
{
	char name[32];

	append_number(append(name, "/dev/ttyS"), first_line + which);
	return (int)CALL(OPEN, name, RDWR | NOCTTY | CLOEXEC);
}

static void resize(int line, word rows, word columns)
{
	unsigned short size[4] = { (unsigned short)rows, (unsigned short)columns, 0, 0 };

	CALL(IOCTL, line, 0x5414, size);
}

/* A line of text that the host says; 0 at the end of all, which comes when the host is gone. */

static char heard[256];
static word heard_count;

static int next_line(char *line)
{
	word at;

	for (at = 0; at < heard_count; at++)
		if (heard[at] == '\n') {
			memcpy(line, heard, at);
			line[at] = 0;
			heard_count -= at + 1;
			for (word rest = 0; rest < heard_count; rest++)
				heard[rest] = heard[at + 1 + rest];
			return 1;
		}
	return 0;
}

static int hear(void)
{
	word count;

	if (heard_count == sizeof heard)
		heard_count = 0; /* no line of ours is as long */
	count = CALL(READ, control, heard + heard_count, sizeof heard - heard_count);
	if (count == -EINTR)
		return 1;
	if (count <= 0)
		return 0;
	heard_count += count;
	return 1;
}

/* Streams */

static int pipes[6] = { -1, -1, -1, -1, -1, -1 }; /* for reading and for writing, by stream */

static void keep_pipe(int own)
{
	int at;

	for (at = 0; at < 6; at++)
		if (pipes[at] >= 0 && pipes[at] != own)
			CALL(CLOSE, pipes[at]), pipes[at] = -1;
}

/* Copies what comes from `in` to a line until its end, and the token behind it. SIGUSR1: the
 * command has ended, and what it has left running may have `in` open for ever. SIGUSR2: nobody
 * reads the stream any more. */
static word pump(int in, int line, char *buffer, word size)
{
	struct { int fd; short events, seen; } wait[2] = { { 0, 1, 0 }, { in, 1, 0 } };
	int timeout = -1;
	word pid = CALL(FORK, 0);

	if (pid)
		return pid;
	keep_pipe(in);
	wait[0].fd = signals_of(BIT(SIGUSR1) | BIT(SIGUSR2));
	while (in >= 0) {
		word count = CALL(POLL, wait, 2, timeout);

		if (count == 0)
			break;
		if (wait[0].seen) {
			if (taken_signal(wait[0].fd) == SIGUSR2)
				break;
			timeout = GRACE;
			continue;
		}
		if (!wait[1].seen)
			continue;
		count = CALL(READ, in, buffer, size);
		if (count <= 0 || write_all(line, buffer, count) < 0)
			break;
	}
	CALL(CLOSE, in);
	write_all(line, token, length(token));
	CALL(EXIT, 0);
	return 0;
}

/* Copies the files whose numbers it is told to the command's standard input; 0 is its end. */
static void feeder(int numbers, int out, char *buffer, word size)
{
	char names[512];
	int is_open = 1;

	if (CALL(FORK, 0))
		return;
	keep_pipe(out);
	set_signal(SIGPIPE, 1);
	for (;;) {
		word count = CALL(READ, numbers, names, sizeof names);
		word at;

		if (count <= 0)
			CALL(EXIT, 0);
		for (at = 0; at + (word)sizeof(word) <= count; at += sizeof(word)) {
			word which = *(word *)(names + at);
			char name[24];
			int file;
			word done;

			if (!which) {
				CALL(CLOSE, out);
				is_open = 0;
				continue;
			}
			append_number(name, which);
			file = (int)CALL(OPENAT, place, name, RDONLY);
			while (is_open && file >= 0 && (done = CALL(READ, file, buffer, size)) > 0)
				if (write_all(out, buffer, done) < 0) {
					CALL(CLOSE, out);
					is_open = 0;
					say("closed", 0, -1);
				}
			CALL(CLOSE, file);
			say("taken", which, -1);
		}
	}
}

/* Steps: each is a letter and its texts, each with a NUL behind it. */

static char *arguments[1 << 15], *variables[1 << 15];
static word argument_count, variable_count;
static char *nics; /* what the kernel was told of them, a variable of ours */
static char *directory = "/", *script, *kinds = "ppp";
static word rows, columns;
static int is_freezer; /* in place of a command, file systems are frozen */
static char buffer[1 << 16];
static char path[1 << 13];

static const char *prefix = ROOT; /* of what is in the root, as long as that is not the root */

static char *inside(const char *target)
{
	append(append(path, prefix), target);
	return path;
}

static word parents(char *whole)
{
	char *at;
	word result = 0;

	for (at = whole + 1;; at++)
		if (*at == '/' || !*at) {
			char kept = *at;

			*at = 0;
			result = CALL(MKDIR, whole, 0755);
			*at = kept;
			if (!kept)
				break;
		}
	return result == -EEXIST ? 0 : result;
}

static word overlay(const char *kept)
{
	char options[1 << 13];
	word result;

	result = CALL(MOUNT, "tmpfs", BASE, "tmpfs", 0, "size=80%,mode=755");
	if (result < 0)
		return result;
	CALL(MKDIR, BASE "/kept", 0755);
	if (*kept) {
		result = CALL(MOUNT, kept, BASE "/kept", "ext4", 0, NULL);
		if (result < 0)
			return result;
	}
	CALL(MKDIR, BASE "/kept/upper", 0755);
	CALL(MKDIR, BASE "/kept/work", 0700);
	CALL(MKDIR, ROOT, 0755);
	append(options, "lowerdir=/,upperdir=" BASE "/kept/upper,workdir=" BASE "/kept/work");
	return CALL(MOUNT, "overlay", ROOT, "overlay", 0, options);
}

static word view(void)
{
	word result = CALL(MOUNT, "tmpfs", BASE, "tmpfs", 0, "size=80%,mode=755");

	CALL(MKDIR, ROOT, 0755);
	return result < 0 ? result : CALL(MOUNT, "/", ROOT, NULL, 4096, NULL);
}

static word load(const char *file)
{
	int module = (int)CALL(OPEN, file, RDONLY | CLOEXEC);
	word result = module < 0 ? module : CALL(FINIT_MODULE, module, "", 0);

	CALL(CLOSE, module);
	return result == -EEXIST ? 0 : result;
}

static word enter(void)
{
	word result = CALL(CHDIR, ROOT);

	if (result < 0)
		return result;
	prefix = "";
	result = CALL(MOUNT, ".", "/", NULL, MS_MOVE, NULL);
	return result < 0 ? result : CALL(CHROOT, ".");
}

static void loopback(void)
{
	struct { char name[16]; short flags; char rest[22]; } request = { "lo", 1, "" };
	int any = (int)CALL(SOCKET, 2, 2, 0);

	CALL(IOCTL, any, 0x8914, &request);
	CALL(CLOSE, any);
}

static word do_step(char letter, char **text)
{
	const char *numbers = text[0];
	word flags;

	switch (letter) {
	case 'm': /* load a kernel module: FILE */
		return load(text[0]);
	case 'o': /* a root to write on, over the host's files: DEVICE that keeps it, or nothing */
		return overlay(text[0]);
	case 'v': /* the host's files as they are */
		return view();
	case 'p': /* mount: TYPE SOURCE TARGET FLAGS OPTIONS */
		numbers = text[3];
		flags = number(&numbers);
		return CALL(MOUNT, text[1], inside(text[2]), *text[0] ? text[0] : NULL, flags,
			*text[4] ? text[4] : NULL);
	case 'd': /* make a directory, and those above it: PATH */
		return parents(inside(text[0]));
	case 'l': /* make a link: TARGET PATH */
		flags = CALL(SYMLINK, text[0], inside(text[1]));
		return flags == -EEXIST ? 0 : flags;
	case 'r': /* have the root be the root */
		return enter();
	case 'n': /* the network of the guest with itself */
		loopback();
		return 0;
	case 's': /* what a shell does before the command: SCRIPT */
		script = text[0];
		return 0;
	case 'f': /* freeze file systems, in place of a command */
		is_freezer = 1;
		return 0;
	case 'q': /* with no privileges to be gained */
		return CALL(PRCTL, 38, 1, 0, 0, 0);
	case 'k': /* what its standard descriptors are: p piped, t a terminal, n nothing */
		kinds = text[0];
		return 0;
	case 'w': /* the size of the terminal: ROWS COLUMNS */
		rows = number(&numbers);
		columns = number(&numbers);
		return 0;
	case 't': /* what ends a stream: TOKEN */
		token = text[0];
		return 0;
	case 'c': /* the command's directory: PATH */
		directory = text[0];
		return 0;
	case 'e': /* of its environment: NAME=VALUE */
		if (variable_count + 1 < (word)(sizeof variables / sizeof *variables))
			variables[variable_count++] = text[0];
		return 0;
	case 'a': /* a word of it: WORD */
		if (argument_count + 1 < (word)(sizeof arguments / sizeof *arguments))
			arguments[argument_count++] = text[0];
		return 0;
	}
	return -22;
}

static int texts_of(char letter)
{
	return letter == 'p' ? 5 : letter == 'l' ? 2 : letter == 'v' || letter == 'r' ||
		letter == 'n' || letter == 'q' || letter == 'f' ? 0 : 1;
}

/* A capital letter is a step that may fail. */
static word do_steps(char *at, char *end)
{
	word index;

	for (index = 0; at < end; index++) {
		char letter = *at++;
		int may = letter >= 'A' && letter <= 'Z';
		char *text[5] = { at, at, at, at, at };
		int count;
		word result;

		if (may)
			letter = (char)(letter - 'A' + 'a');
		for (count = 0; count < texts_of(letter) && at < end; count++) {
			text[count] = at;
			at += length(at) + 1;
		}
		result = do_step(letter, text);
		if (result < 0 && !may) {
			say("failed", index, -result);
			return -1;
		}
	}
	return 0;
}

static word read_steps(void)
{
	word state[18];
	word count = 0;
	int file = (int)CALL(OPENAT, place, "steps", RDONLY | CLOEXEC);
	word size;
	char *memory;

	size = CALL(FSTAT, file, state) < 0 ? 0 : state[6];
	memory = (char *)CALL(MMAP, NULL, size + 1, 3, 0x22, -1, 0);
	while (count < size) {
		word done = CALL(READ, file, memory + count, size - count);

		if (done <= 0)
			break;
		count += done;
	}
	CALL(CLOSE, file);
	if (file < 0 || count < size) {
		say("failed", 1 << 20, ENOENT);
		return -1;
	}
	return do_steps(memory, memory + size);
}

/* The command */

static const char *variable(const char *name)
{
	word at;

	for (at = 0; at < variable_count; at++)
		if (begins(variables[at], name))
			return variables[at] + length(name);
	return NULL;
}

/* What execvp(3) does; an errno. */
static word execute_at(const char *program)
{
	word result = -CALL(EXECVE, program, arguments, variables);

	if (result == ENOEXEC) { /* a script without #! */
		word at;

		for (at = argument_count; at > 0; at--)
			arguments[at + 1] = arguments[at];
		arguments[0] = "/bin/sh";
		arguments[1] = (char *)program;
		CALL(EXECVE, "/bin/sh", arguments, variables);
	}
	return result;
}

static word execute(void)
{
	const char *search = variable("PATH=");
	const char *program = arguments[0];
	word result = ENOENT, at;

	for (at = 0; program[at]; at++)
		if (program[at] == '/')
			return execute_at(program);
	if (!search)
		search = "/usr/local/bin:/usr/bin:/bin";
	for (;;) {
		char *end = path;
		word tried;

		while (*search && *search != ':' && end < path + sizeof path - 300)
			*end++ = *search++;
		*end = 0;
		if (at < 256) {
			append(end > path ? append(end, "/") : end, program);
			tried = execute_at(path);
			if (tried == EACCES)
				result = EACCES;
			else if (tried != ENOENT && tried != ENOTDIR)
				return tried;
		}
		if (!*search++)
			return result;
	}
}

static void become_command(void)
{
	word none = 0;

	shared->where = 1;
	shared->problem = -CALL(CHDIR, directory);
	if (!shared->problem) {
		shared->where = 0;
		CALL(SIGPROCMASK, 2, &none, NULL, 8);
		shared->problem = execute();
	}
	CALL(EXIT, 127);
}

/* Has the command in a process group of its own on a terminal, where it can be stopped: it has a
 * parent in its session. */
static void lead(int terminal)
{
	word pid, status, mask = BIT(SIGTTOU);

	CALL(IOCTL, terminal, 0x540e, 0); /* TIOCSCTTY */
	CALL(SIGPROCMASK, 0, &mask, NULL, 8);
	pid = CALL(FORK, 0);
	if (!pid)
		pid = CALL(GETPID, 0), mask = 0;
	CALL(SETPGID, pid, pid);
	{
		int group = (int)pid;

		CALL(IOCTL, terminal, 0x5410, &group); /* TIOCSPGRP */
	}
	if (!mask)
		become_command();
	shared->pid = pid;
	for (;;) {
		int how = 0;
		int group = (int)pid;

		if (CALL(WAIT4, pid, &how, 2 /* WUNTRACED */, NULL) != pid)
			continue;
		status = how;
		if ((status & 0xff) != 0x7f)
			break;
		CALL(IOCTL, terminal, 0x5410, &group);
		say("stopped", status >> 8, -1);
	}
	shared->status = status;
	/* The terminal is hung up with the session, and what was not sent is lost then. */
	write_all(terminal, token, length(token));
	CALL(IOCTL, terminal, 0x5409, 1); /* tcdrain */
	CALL(EXIT, 0);
}

static int standard(char kind, int terminal, int piped)
{
	if (kind == 't')
		return terminal;
	return kind == 'p' ? piped : (int)CALL(OPEN, "/dev/null", RDWR | CLOEXEC);
}

static word start(int terminal, int in, int out, int error)
{
	word pid = CALL(FORK, 0);
	int at;
	int descriptors[3];

	if (pid)
		return pid;
	CALL(SETSID, 0);
	descriptors[0] = standard(kinds[0], terminal, in);
	descriptors[1] = standard(kinds[1], terminal, out);
	descriptors[2] = standard(kinds[2], terminal, error);
	for (at = 0; at < 3; at++)
		CALL(DUP2, descriptors[at], at);
	if (kinds[0] == 't')
		lead(terminal);
	shared->pid = CALL(GETPID, 0);
	become_command();
	return 0;
}

/* What is done before it, by a shell: 0 if that has succeeded. */
static word do_script(void)
{
	char *words[] = { "/bin/sh", "-c", script, NULL };
	char *names[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", nics, NULL,
	};
	int how = 0;
	word pid, none = 0;

	if (!script)
		return 0;
	pid = CALL(FORK, 0);
	if (!pid) {
		CALL(SIGPROCMASK, 2, &none, NULL, 8);
		CALL(DUP2, CALL(OPEN, "/dev/console", RDWR | NOCTTY), 2);
		CALL(DUP2, 2, 1);
		CALL(EXECVE, words[0], words, names);
		CALL(EXIT, 127);
	}
	while (CALL(WAIT4, pid, &how, 0, NULL) != pid)
		;
	if (how)
		say("unprepared", how, -1);
	return how;
}

static void heed(const char *line, int terminal)
{
	const char *rest = line;

	if (begins(line, "in ")) {
		word which;

		rest += 3;
		which = number(&rest);
		CALL(WRITE, feed, &which, sizeof which);
	} else if (begins(line, "signal ")) {
		word pid = shared->pid, which;

		rest += 7;
		which = number(&rest);
		if (pid > 1)
			CALL(KILL, -pid, which);
		say("heard", which, -1);
	} else if (begins(line, "size ")) {
		word height;

		rest += 5;
		height = number(&rest);
		resize(terminal, height, number(&rest));
	} else if (begins(line, "shut ")) {
		rest += 5;
		CALL(KILL, pumps[number(&rest) & 1], SIGUSR2);
	} else if (same(line, "bye")) {
		off();
	}
}

static void ended(word status)
{
	int at;

	if (shared->problem)
		say(shared->where ? "nowhere" : "noexec", shared->problem, -1);
	else
		say("status", status, -1);
	is_over = 1;
	for (at = 0; at < 2; at++)
		if (pumps[at])
			CALL(KILL, pumps[at], SIGUSR1);
}

/* Reaps, and does what the host says, until the host says the last or is gone. */
static void attend(word child, int signals, int terminal)
{
	struct { int fd; short events, seen; } wait[2] = { { control, 1, 0 }, { signals, 1, 0 } };

	for (;;) {
		char text[256];

		while (next_line(text))
			heed(text, terminal);
		CALL(POLL, wait, 2, -1);
		if (wait[1].seen) {
			int how;
			word pid;

			taken_signal(signals);
			while ((pid = CALL(WAIT4, -1, &how, 1, NULL)) > 0)
				if (pid == child) {
					ended(kinds[0] == 't' && !how ? shared->status : how);
					if (kinds[1] == 't') /* should its session have been killed */
						pump(-1, line_of(1), buffer, 0);
				}
		}
		if (wait[0].seen && !hear())
			off();
	}
}

static void run(void)
{
	int numbers[2], at;
	int out = line_of(1), error = line_of(2);
	int signals = signals_of(BIT(SIGCHLD));
	word child, mask = BIT(SIGUSR1) | BIT(SIGUSR2);

	/* A pump may be told that the command has ended before it has begun. */
	CALL(SIGPROCMASK, 0, &mask, NULL, 8);

	if (kinds[1] == 't')
		cooked(out), resize(out, rows, columns);
	else
		raw(out);
	raw(error);
	if (do_script())
		return;
	for (at = 0; at < 3; at++)
		if (kinds[at] == 'p')
			CALL(PIPE2, pipes + 2 * at, CLOEXEC);
	/* Before the command, which may be the kernel's end at once. */
	say("began", -1, -1);
	child = start(out, pipes[0], pipes[3], pipes[5]);
	for (at = 1; at < 3; at++)
		if (kinds[at] == 'p')
			pumps[at - 1] = pump(pipes[2 * at], at == 1 ? out : error, buffer, sizeof buffer);
	if (kinds[0] == 'p') {
		CALL(PIPE2, numbers, CLOEXEC);
		feeder(numbers[0], pipes[1], buffer, sizeof buffer);
		CALL(CLOSE, numbers[0]);
		feed = numbers[1];
	}
	keep_pipe(-1);
	attend(child, signals, out);
}

#include "freezing.h"
#include "booting.h"

/* Lets go of who has started this program in a guest that goes on, and of all it has of that. */
static void detach(void)
{
	int at;

	if (CALL(FORK, 0))
		CALL(EXIT, 0);
	CALL(SETSID, 0);
	for (at = 0; at < 10; at++)
		CALL(CLOSE, at);
	for (at = 1; at < 32; at++)
		set_signal(at, 0);
}

__attribute__((used)) static void begin(word *stack)
{
	char **words = (char **)(stack + 1);
	char line[256] = "";

	CALL(UMASK, 022);
	if (stack[0] > 1 && *words[stack[0] - 1] != '/') /* the kernel may put words before DIRECTORY */
		help_init(words);
	if (stack[0] > 2 && *words[1] == '-') {
		const char *digits = words[1] + 1;

		first_line = number(&digits);
		prefix = "";
		detach();
	} else {
		CALL(MOUNT, "devtmpfs", "/dev", "devtmpfs", 0, NULL);
	}
	while (CALL(OPEN, "/dev/null", RDWR | CLOEXEC) < 3)
		; /* where there was no console to open, nothing else is to have these numbers */
	shared = (struct shared *)CALL(MMAP, NULL, 4096, 3, 0x21, -1, 0);
	control = line_of(0);
	raw(control);
	for (variable_count = stack[0] + 1; words[variable_count]; variable_count++)
		if (begins(words[variable_count], "UMLCTL_NICS="))
			nics = words[variable_count];
	variable_count = 0;
	/* what the kernel does not know of its arguments comes before */
	place = (int)CALL(OPEN, words[stack[0] - 1], RDONLY | DIRECTORY | CLOEXEC);
	say("up", -1, -1);
	do
		if (!next_line(line) && !hear())
			off();
	while (!same(line, "go"));
	if (read_steps() == 0) {
		if (is_freezer)
			freeze();
		else
			run();
	}
	for (;;) /* it has failed, and the host knows */
		if (!hear())
			off();
		else
			while (next_line(line))
				if (same(line, "bye"))
					off();
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
