/*
 * Plays scripts of device mapper steps, one step a line, and prints what the kernel answers. The same program runs on a real Linux,
 * many scripts in one start of the machine, and on the simulated kernel, a script a run. One process plays a script, so that a step
 * costs what its calls cost: thousands of scripts take minutes.
 *
 *   steps SCRIPT              plays one and prints what comes of it, the kernel's log last
 *   steps all SCRIPTS OUT     plays each file of SCRIPTS on clean devices, in a process of its own, into a file of OUT
 *
 * A step (a table's lines stand apart by "; "):
 *   create NAME [ro] [uuid=U]     make NAME FLAGS: TABLE          load NAME [ro]: TABLE       resume NAME [noflush]
 *   suspend NAME [noflush] [nolockfs]   clear NAME   remove NAME [deferred]   rename NAME NEW   setuuid NAME UUID
 *   message NAME SECTOR: TEXT   geometry NAME CYLINDERS   table NAME [inactive]   status NAME [noflush]   info NAME   deps NAME   list
 *   open NAME   close NAME   limits NAME   synced NAME   put DEV SECTOR SECTORS SEED   get DEV SECTOR SECTORS
 *   discard DEV SECTOR SECTORS   zeroout DEV SECTOR SECTORS   flush DEV
 * `make` creates, loads and resumes, and removes the device again when its table is refused, as dmsetup does. What would wait for a
 * device that is suspended is left out and said: it would never end.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (64 << 10)
#define HOLDS 8
#define MOST (4096 * 512)

static int control = -1, kmsg = -1;
static unsigned major_of_dm = 254;
static union { struct dm_ioctl head; char bytes[ROOM]; } call;
static struct { char name[DM_NAME_LEN]; int fd; } held[HOLDS];
static char *data;

/* ---- text ---- */

static const char *error_name(int error)
{
	const char *name = strerrorname_np(error);
	return name ? name : "?";
}

/* Prints text of the kernel, the first of it if it is long, with the major number of device mapper's devices as MAJ: it differs between machines. */
static void masked(const char *text)
{
	char number[16];
	int len = snprintf(number, sizeof number, "%u:", major_of_dm);
	for (const char *at = text; *at && at < text + 400; ) {
		int is_start = at == text || at[-1] < '0' || at[-1] > '9';
		if (is_start && !strncmp(at, number, len)) {
			fputs("MAJ:", stdout);
			at += len;
		} else {
			putchar(*at++);
		}
	}
}

static char *word(char **rest)
{
	while (**rest == ' ')
		++*rest;
	if (!**rest)
		return NULL;
	char *start = *rest;
	*rest += strcspn(start, " ");
	if (**rest)
		*(*rest)++ = 0;
	return start;
}

static uint64_t number(char **rest)
{
	char *text = word(rest);
	return text ? strtoull(text, NULL, 10) : 0;
}

/* ---- calls ---- */

/* Behind the header stands what the kernel has no reason to give back: where it writes nothing, that shows. */
static void begin(const char *name, uint32_t flags)
{
	memset(&call, 0, sizeof call.head);
	memset(call.bytes + sizeof call.head, '~', ROOM - sizeof call.head - 1);
	call.head.version[0] = 4;
	call.head.data_size = ROOM;
	call.head.data_start = sizeof call.head;
	call.head.flags = flags;
	if (name)
		snprintf(call.head.name, sizeof call.head.name, "%s", name);
}

static int send_call(unsigned long what)
{
	return ioctl(control, what, &call) < 0 ? errno : 0;
}

static void node_of(const char *name, char path[256])
{
	snprintf(path, 256, "/dev/mapper/%s", name);
}

static void device(void)
{
	const struct dm_ioctl *head = &call.head;
	static const struct { uint32_t flag; const char *name; } flags[] = {
		{ DM_READONLY_FLAG, "ro" }, { DM_SUSPEND_FLAG, "suspended" }, { DM_ACTIVE_PRESENT_FLAG, "live" },
		{ DM_INACTIVE_PRESENT_FLAG, "inactive" }, { DM_BUFFER_FULL_FLAG, "full" }, { DM_UEVENT_GENERATED_FLAG, "uevent" },
		{ DM_DEFERRED_REMOVE, "deferred" }, { DM_INTERNAL_SUSPEND_FLAG, "internal" }, { DM_DATA_OUT_FLAG, "data" },
	};
	printf("%s %s minor=%u targets=%u open=%d event=%u", head->name, head->uuid, minor(head->dev), head->target_count,
	       head->open_count, head->event_nr);
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
		if (head->flags & flags[i].flag)
			printf(" %s", flags[i].name);
	putchar('\n');
}

static int told(int error)
{
	if (error)
		printf("%s\n", error_name(error));
	return error;
}

/* Whether a list has no entry: nothing is written then. */
static int is_empty(void)
{
	return call.head.data_size <= call.head.data_start;
}

static int is_suspended(const char *name)
{
	begin(name, 0);
	return !send_call(DM_DEV_STATUS) && call.head.flags & DM_SUSPEND_FLAG;
}

/* Whether a device other than `name` is suspended. */
static int waits(const char *name)
{
	static char names[64][DM_NAME_LEN];
	int count = 0;
	begin(NULL, 0);
	if (send_call(DM_LIST_DEVICES) || is_empty())
		return 0;
	struct dm_name_list *entry = (void *)(call.bytes + call.head.data_start);
	for (;; entry = (void *)((char *)entry + entry->next)) {
		if (count < 64)
			snprintf(names[count++], DM_NAME_LEN, "%s", entry->name);
		if (!entry->next)
			break;
	}
	for (int i = 0; i < count; i++) {
		if (name && !strcmp(name, names[i]))
			continue;
		if (is_suspended(names[i]))
			return 1;
	}
	return 0;
}

/* Sends a table whose lines stand apart by "; ": START LENGTH TYPE PARAMETERS. A number that is none is sent as 0. */
static int load(const char *name, const char *table, int is_readonly)
{
	begin(name, is_readonly ? DM_READONLY_FLAG : 0);
	size_t at = sizeof call.head;
	for (const char *line = table; *line; ) {
		size_t len = strcspn(line, ";");
		char *copy = strndup(line, len), *rest = copy;
		struct dm_target_spec *spec = (void *)(call.bytes + at);
		memset(spec, 0, sizeof *spec);
		spec->sector_start = number(&rest);
		spec->length = number(&rest);
		const char *kind = word(&rest);
		snprintf(spec->target_type, sizeof spec->target_type, "%s", kind ? kind : "");
		char *parameters = call.bytes + at + sizeof *spec;
		strcpy(parameters, rest);
		size_t next = (sizeof *spec + strlen(rest) + 1 + 7) & ~7ul;
		spec->next = next;
		at += next;
		call.head.target_count++;
		free(copy);
		line += len;
		line += strspn(line, "; ");
	}
	call.head.data_size = at;
	return send_call(DM_TABLE_LOAD);
}

static int create(const char *name, char *flags)
{
	char path[256], *flag;
	int is_readonly = 0;
	begin(name, 0);
	while ((flag = word(&flags))) {
		if (!strcmp(flag, "ro"))
			is_readonly = 1;
		else if (!strncmp(flag, "uuid=", 5))
			snprintf(call.head.uuid, sizeof call.head.uuid, "%s", flag + 5);
	}
	if (is_readonly)
		call.head.flags |= DM_READONLY_FLAG;
	int error = send_call(DM_DEV_CREATE);
	if (!error) {
		node_of(name, path);
		unlink(path);
		mknod(path, S_IFBLK | 0600, call.head.dev);
	}
	return error;
}

static int resume(const char *name, uint32_t flags)
{
	begin(name, flags);
	return send_call(DM_DEV_SUSPEND);
}

static int removed(const char *name, uint32_t flags)
{
	char path[256];
	begin(name, flags);
	int error = send_call(DM_DEV_REMOVE);
	node_of(name, path);
	if (!error)
		unlink(path);
	return error;
}

/* What a table or a status says, a line for each target. */
static void table(const char *name, uint32_t flags)
{
	begin(name, flags);
	if (told(send_call(DM_TABLE_STATUS)))
		return;
	device();
	size_t at = call.head.data_start;
	/* Of a buffer that was full nobody can tell how many lines it holds. */
	uint32_t count = call.head.flags & DM_BUFFER_FULL_FLAG ? 0 : call.head.target_count;
	for (uint32_t i = 0; i < count; i++) {
		struct dm_target_spec *spec = (void *)(call.bytes + at);
		printf("%llu %llu %s ", (unsigned long long)spec->sector_start, (unsigned long long)spec->length, spec->target_type);
		masked((char *)(spec + 1));
		putchar('\n');
		at = call.head.data_start + spec->next;
	}
}

static void list(void)
{
	begin(NULL, 0);
	if (told(send_call(DM_LIST_DEVICES)) || is_empty())
		return;
	struct dm_name_list *entry = (void *)(call.bytes + call.head.data_start);
	for (;; entry = (void *)((char *)entry + entry->next)) {
		printf("%s %u\n", entry->name, (unsigned)minor(entry->dev));
		if (!entry->next)
			break;
	}
}

static void deps(const char *name)
{
	begin(name, 0);
	if (told(send_call(DM_TABLE_DEPS)))
		return;
	device();
	if (is_empty())
		return;
	struct dm_target_deps *deps = (void *)(call.bytes + call.head.data_start);
	for (uint32_t i = 0; i < deps->count; i++) {
		unsigned its_major = major(deps->dev[i]);
		if (its_major == major_of_dm)
			printf("MAJ:%u ", (unsigned)minor(deps->dev[i]));
		else
			printf("%u:%u ", its_major, (unsigned)minor(deps->dev[i]));
	}
	putchar('\n');
}

static void message(const char *name, uint64_t sector, const char *text)
{
	begin(name, 0);
	struct dm_target_msg *msg = (void *)(call.bytes + sizeof call.head);
	msg->sector = sector;
	strcpy(msg->message, text);
	call.head.data_size = sizeof call.head + sizeof *msg + strlen(text) + 1;
	call.head.data_size = call.head.data_size < 4096 ? 4096 : call.head.data_size;
	if (told(send_call(DM_TARGET_MSG)))
		return;
	if (!(call.head.flags & DM_DATA_OUT_FLAG)) {
		/* The event of a path that failed comes a moment later. */
		struct dm_ioctl answer = call.head;
		usleep(1000);
		begin(name, 0);
		if (!send_call(DM_DEV_STATUS))
			answer.event_nr = call.head.event_nr;
		call.head = answer;
	}
	device();
	if (call.head.flags & DM_DATA_OUT_FLAG) {
		masked(call.bytes + call.head.data_start);
		putchar('\n');
	}
}

static void geometry(const char *name, uint64_t cylinders)
{
	begin(name, 0);
	sprintf(call.bytes + sizeof call.head, "%llu 2 16 0", (unsigned long long)cylinders);
	if (!told(send_call(DM_DEV_SET_GEOMETRY)))
		device();
}

static void renamed(const char *name, const char *new, uint32_t flags)
{
	char from[256], to[256];
	begin(name, flags);
	strcpy(call.bytes + sizeof call.head, new);
	if (told(send_call(DM_DEV_RENAME)))
		return;
	device();
	node_of(name, from);
	node_of(new, to);
	if (!(flags & DM_UUID_FLAG))
		rename(from, to);
}

/* ---- a device's queue and bytes ---- */

static void limits(const char *name)
{
	static const char *files[] = { "queue/logical_block_size", "queue/physical_block_size", "queue/minimum_io_size",
		"queue/optimal_io_size", "queue/max_sectors_kb", "queue/max_segments", "queue/chunk_sectors", "queue/discard_granularity",
		"queue/discard_max_bytes", "queue/write_zeroes_max_bytes", "queue/write_cache", "queue/rotational", "queue/dax",
		"ro", "size", "alignment_offset", "discard_alignment" };
	begin(name, 0);
	if (told(send_call(DM_DEV_STATUS)))
		return;
	unsigned its_minor = minor(call.head.dev);
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		char path[256], text[64] = "";
		snprintf(path, sizeof path, "/sys/block/dm-%u/%s", its_minor, files[i]);
		FILE *file = fopen(path, "r");
		if (file && fgets(text, sizeof text, file))
			text[strcspn(text, "\n")] = 0;
		const char *base = strrchr(files[i], '/');
		printf("%s=%s ", base ? base + 1 : files[i], file ? text : "-");
		if (file)
			fclose(file);
	}
	putchar('\n');
}

static int open_device(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		told(errno);
	return fd;
}

/* The bytes of sector `sector` of what `seed` writes: each 8 bytes say where they are and of what they are. */
static void pattern(uint64_t sector, uint64_t sectors, uint64_t seed)
{
	uint64_t *words = (void *)data;
	for (uint64_t i = 0; i < sectors * 64; i++)
		words[i] = (seed << 40) ^ ((sector * 64 + i) * 0x9e3779b97f4a7c15ull);
}

/* How many bytes before a mistake, in how many equal parts they came, and a hash (FNV-1a by words) of what was read. */
static void move(const char *path, uint64_t sector, uint64_t sectors, int64_t seed)
{
	if (sectors * 512 > MOST)
		sectors = MOST / 512;
	int fd = open_device(path, (seed >= 0 ? O_WRONLY : O_RDONLY) | O_DIRECT);
	if (fd < 0)
		return;
	if (seed >= 0)
		pattern(sector, sectors, seed);
	else
		memset(data, 0xa5, sectors * 512);
	off_t at = sector * 512;
	ssize_t n = seed >= 0 ? pwrite(fd, data, sectors * 512, at) : pread(fd, data, sectors * 512, at);
	int error = errno;
	close(fd);
	if (n < 0) {
		told(error);
		return;
	}
	printf("%zd bytes", n);
	if (seed < 0) {
		uint64_t hash = 0xcbf29ce484222325ull, any = 0, *words = (void *)data;
		for (ssize_t i = 0; i < n / 8; i++) {
			hash = (hash ^ words[i]) * 0x100000001b3ull;
			any |= words[i];
		}
		if (n && !any)
			printf(" zeros");
		else if (n)
			printf(" %016llx", (unsigned long long)hash);
	}
	putchar('\n');
}

static void range(const char *path, unsigned long what, uint64_t sector, uint64_t sectors)
{
	int fd = open_device(path, O_WRONLY);
	if (fd < 0)
		return;
	uint64_t span[2] = { sector * 512, sectors * 512 };
	if (!told(ioctl(fd, what, span) < 0 ? errno : 0))
		puts("done");
	close(fd);
}

static void flush(const char *path)
{
	int fd = open_device(path, O_WRONLY);
	if (fd < 0)
		return;
	if (!told(fsync(fd) < 0 ? errno : 0))
		puts("done");
	close(fd);
}

static void hold(const char *name)
{
	char path[256];
	node_of(name, path);
	for (int i = 0; i < HOLDS; i++) {
		if (held[i].name[0])
			continue;
		held[i].fd = open_device(path, O_RDONLY);
		if (held[i].fd >= 0) {
			snprintf(held[i].name, sizeof held[i].name, "%s", name);
			puts("open");
		}
		return;
	}
	puts("too many");
}

static void let_go(const char *name)
{
	for (int i = 0; i < HOLDS; i++) {
		if (!strcmp(held[i].name, name)) {
			close(held[i].fd);
			held[i].name[0] = 0;
			puts("closed");
			return;
		}
	}
	puts("not open");
}

/* Whether the mirrors in a device have regions that are not in sync, or a merge has exceptions left; or an error. */
static int behind(const char *name, int *is_behind)
{
	*is_behind = 0;
	begin(name, DM_NOFLUSH_FLAG);
	int error = send_call(DM_TABLE_STATUS);
	if (error || call.head.flags & DM_BUFFER_FULL_FLAG)
		return error;
	size_t at = call.head.data_start;
	for (uint32_t i = 0; i < call.head.target_count; i++) {
		struct dm_target_spec *spec = (void *)(call.bytes + at);
		unsigned long long done, all;
		const char *slash = strcmp(spec->target_type, "mirror") ? NULL : strchr((char *)(spec + 1), '/');
		while (slash && slash > (char *)(spec + 1) && slash[-1] != ' ')
			slash--;
		*is_behind |= slash && sscanf(slash, "%llu/%llu", &done, &all) == 2 && done != all;
		unsigned long long used, metadata;
		*is_behind |= !strcmp(spec->target_type, "snapshot-merge") &&
			sscanf((char *)(spec + 1), "%llu/%llu %llu", &used, &all, &metadata) == 3 && used != metadata;
		at = call.head.data_start + spec->next;
	}
	return 0;
}

/* Waits until the mirrors in a device say that all their regions are in sync, and its merge that nothing is left. */
static void synced(const char *name)
{
	int is_behind;
	for (int n = 0; n < 100; n++) {
		if (told(behind(name, &is_behind)))
			return;
		if (!is_behind) {
			puts("in sync");
			return;
		}
		usleep(50000);
	}
	puts("never in sync");
}

/* Lets what a resume has begun come to its end (events, the recovery of mirrors, requests that were put off), and shows the device. */
static void resumed(const char *name)
{
	uint32_t uevent = call.head.flags & DM_UEVENT_GENERATED_FLAG;
	int is_behind = 1;
	usleep(1000);
	for (int n = 0; n < 40 && !behind(name, &is_behind) && is_behind; n++)
		usleep(5000);
	begin(name, 0);
	if (!told(send_call(DM_DEV_STATUS))) {
		call.head.flags |= uevent;
		device();
	}
}

/* ---- steps ---- */

static void make(const char *name, char *flags, const char *text)
{
	int is_readonly = strstr(flags, "ro") != NULL;
	if (told(create(name, flags)))
		return;
	int error = load(name, text, is_readonly);
	if (!error) {
		error = resume(name, 0);
		if (!error) {
			resumed(name);
			return;
		}
		printf("resume: ");
	}
	told(error);
	if ((error = removed(name, 0))) {
		printf("remove: ");
		told(error);
	}
}

static uint32_t flags_of(char *text)
{
	uint32_t flags = 0;
	for (char *flag; (flag = word(&text)); ) {
		if (!strcmp(flag, "noflush"))
			flags |= DM_NOFLUSH_FLAG;
		else if (!strcmp(flag, "nolockfs"))
			flags |= DM_SKIP_LOCKFS_FLAG;
		else if (!strcmp(flag, "deferred"))
			flags |= DM_DEFERRED_REMOVE;
		else if (!strcmp(flag, "inactive"))
			flags |= DM_QUERY_INACTIVE_TABLE_FLAG;
		else if (!strcmp(flag, "ro"))
			flags |= DM_READONLY_FLAG;
	}
	return flags;
}

static int is(const char *what, const char *one) { return !strcmp(what, one); }

static void device_step(const char *what, const char *name, char *flags, char *text)
{
	int error;
	uint32_t bits;
	if (is(what, "create")) {
		if (!told(create(name, flags)))
			device();
	} else if (is(what, "make")) {
		make(name, flags, text);
	} else if (is(what, "load")) {
		bits = flags_of(flags);
		if (!told(load(name, text, bits & DM_READONLY_FLAG)))
			device();
	} else if (is(what, "resume") || is(what, "suspend")) {
		bits = flags_of(flags) | (is(what, "suspend") ? DM_SUSPEND_FLAG : 0);
		if (!told(resume(name, bits)))
			resumed(name);
	} else if (is(what, "clear")) {
		begin(name, 0);
		if (!told(send_call(DM_TABLE_CLEAR)))
			device();
	} else if (is(what, "remove")) {
		error = removed(name, flags_of(flags));
		if (!told(error))
			device();
	} else if (is(what, "info")) {
		begin(name, 0);
		if (!told(send_call(DM_DEV_STATUS)))
			device();
	} else if (is(what, "table")) {
		table(name, flags_of(flags) | DM_STATUS_TABLE_FLAG);
	} else if (is(what, "status")) {
		table(name, flags_of(flags));
	} else if (is(what, "message")) {
		message(name, number(&flags), text);
	} else {
		printf("no such step\n");
	}
}

/* What waits for a device other than its own when one is suspended. */
static int may_wait(const char *what)
{
	static const char *those[] = { "make", "load", "suspend", "remove", "message", "status" };
	for (unsigned i = 0; i < sizeof those / sizeof *those; i++)
		if (is(what, those[i]))
			return 1;
	return 0;
}

static void step(char *line)
{
	static int was_deferred;
	printf("> %s\n", line);
	char *text = strstr(line, ": ");
	if (text) {
		*text = 0;
		text += 2;
	}
	char *rest = line, *what = word(&rest), *name = word(&rest);
	if (!what)
		return;
	name = name ? name : "";
	int is_io = is(what, "put") || is(what, "get") || is(what, "discard") || is(what, "zeroout") || is(what, "flush");
	/* A resume of a device that is not suspended suspends it first, when it has a table to bring to life. */
	int is_swap = is(what, "resume") && !is_suspended(name);
	if (((is_io || is(what, "synced")) && waits(NULL)) || ((is_swap || may_wait(what)) && waits(name))) {
		puts("left out: it may wait for a device that is suspended");
		return;
	}
	if (is_io) {
		uint64_t sector = number(&rest), sectors = number(&rest);
		if (is(what, "put"))
			move(name, sector, sectors, number(&rest));
		else if (is(what, "get"))
			move(name, sector, sectors, -1);
		else if (is(what, "flush"))
			flush(name);
		else
			range(name, is(what, "discard") ? BLKDISCARD : BLKZEROOUT, sector, sectors);
		usleep(1000);
	} else if (is(what, "rename") || is(what, "setuuid")) {
		char *new = word(&rest);
		renamed(name, new ? new : "", is(what, "setuuid") ? DM_UUID_FLAG : 0);
	} else if (is(what, "geometry")) {
		geometry(name, number(&rest));
	} else if (is(what, "limits")) {
		limits(name);
	} else if (is(what, "list")) {
		list();
	} else if (is(what, "deps")) {
		deps(name);
	} else if (is(what, "open")) {
		hold(name);
	} else if (is(what, "close")) {
		let_go(name);
		usleep(was_deferred ? 60000 : 500);
	} else if (is(what, "synced")) {
		synced(name);
	} else {
		was_deferred |= strstr(rest, "deferred") != NULL;
		device_step(what, name, rest, text ? text : "");
		/* Devices that only waited for this one to let go of them are gone a moment later, on Linux after a few ticks. */
		usleep(was_deferred ? 60000 : 500);
	}
}

/* The log from here on. */
static void log_from_here(void)
{
	if (kmsg >= 0)
		close(kmsg);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0) {
		perror("/dev/kmsg");
		exit(2);
	}
}

/* Reads the rest of the log, and shows the lines of device mapper; says whether the kernel is unwell. */
static int log_lines(int is_shown)
{
	char record[8192];
	int is_unwell = 0;
	for (;;) {
		ssize_t len = read(kmsg, record, sizeof record - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			return is_unwell;
		record[len] = 0;
		char *text = strchr(record, ';');
		text = text ? text + 1 : record;
		text[strcspn(text, "\n")] = 0;
		is_unwell |= !strncmp(text, "BUG: ", 5) || !strncmp(text, "Oops: ", 6) || strstr(text, "Call Trace:") != NULL;
		if (is_shown && !strncmp(text, "device-mapper:", 14)) {
			masked(text);
			putchar('\n');
		}
	}
}

static void set_up(void)
{
	char line[128];
	unsigned number_found;
	FILE *devices = fopen("/proc/devices", "r");
	while (devices && fgets(line, sizeof line, devices))
		if (strstr(line, " device-mapper") && sscanf(line, "%u", &number_found) == 1)
			major_of_dm = number_found;
	if (devices)
		fclose(devices);
	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	data = aligned_alloc(4096, MOST);
	if (control < 0 || !data) {
		perror("/dev/mapper/control");
		exit(2);
	}
}

static void play(const char *path)
{
	static char line[8192];
	FILE *script = fopen(path, "r");
	if (!script) {
		perror(path);
		exit(2);
	}
	log_from_here();
	while (fgets(line, sizeof line, script)) {
		line[strcspn(line, "\n")] = 0;
		if (*line && *line != '#')
			step(line);
	}
	fclose(script);
	puts("> log");
	if (log_lines(1))
		puts("the kernel is unwell");
	fflush(stdout);
}

/* Removes all devices, whatever state they are in, and empties the disks; says whether it could. */
static int clean(void)
{
	static char names[64][DM_NAME_LEN];
	for (int round = 0; round < 40; round++) {
		int count = 0;
		begin(NULL, 0);
		if (send_call(DM_LIST_DEVICES))
			return 0;
		if (is_empty())
			break;
		struct dm_name_list *entry = (void *)(call.bytes + call.head.data_start);
		for (;; entry = (void *)((char *)entry + entry->next)) {
			if (count < 64)
				snprintf(names[count++], DM_NAME_LEN, "%s", entry->name);
			if (!entry->next)
				break;
		}
		if (round == 39)
			return 0;
		for (int i = 0; i < count; i++) {
			char path[256];
			begin(names[i], 0);
			send_call(DM_TABLE_CLEAR);
			if (round >= 4)
				load(names[i], "0 1 error", 0);
			resume(names[i], round >= 4 ? DM_NOFLUSH_FLAG : 0);
			removed(names[i], 0);
			node_of(names[i], path);
			unlink(path);
		}
		if (round >= 2)
			usleep(20000);
	}
	/* A device that is gone may be let go of later: until then its number is not free, and the next script would see that. */
	for (int round = 0; ; round++) {
		begin("probe", 0);
		if (send_call(DM_DEV_CREATE))
			return 0;
		unsigned first = minor(call.head.dev);
		removed("probe", 0);
		if (!first)
			break;
		if (round == 100)
			return 0;
		usleep(10000);
	}
	for (int i = 0; i < 8; i++) {
		char path[32];
		snprintf(path, sizeof path, "/dev/ram%d", i);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		uint64_t all[2] = { 0, 0 };
		if (fd < 0 || ioctl(fd, BLKGETSIZE64, &all[1]) < 0 || ioctl(fd, BLKDISCARD, all) < 0)
			return 0;
		ioctl(fd, BLKFLSBUF, 0);
		close(fd);
	}
	DIR *nodes = opendir("/dev/mapper");
	for (struct dirent *entry; nodes && (entry = readdir(nodes)); ) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "control"))
			unlinkat(dirfd(nodes), entry->d_name, 0);
	}
	if (nodes)
		closedir(nodes);
	return 1;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Plays each script into a file of `out`; `out`/begun names the one that is being played, for the case that the machine ends. */
static int all(const char *scripts, const char *out)
{
	struct dirent **entries;
	int count = scandir(scripts, &entries, NULL, by_name);
	char from[512], to[512], part[512], begun[512];
	log_from_here();
	snprintf(begun, sizeof begun, "%s/begun", out);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] == '.')
			continue;
		snprintf(from, sizeof from, "%s/%s", scripts, entries[i]->d_name);
		snprintf(to, sizeof to, "%s/%s", out, entries[i]->d_name);
		snprintf(part, sizeof part, "%s/part", out);
		FILE *note = fopen(begun, "w");
		fprintf(note, "%s\n", entries[i]->d_name);
		fclose(note);
		pid_t child = fork();
		if (!child) {
			if (!freopen(part, "w", stdout))
				exit(2);
			play(from);
			exit(0);
		}
		int status, waited = 0;
		while (!waitpid(child, &status, WNOHANG) && ++waited < 3000)
			usleep(waited < 100 ? 1000 : 10000);
		if (waited >= 3000)
			return 1;
		FILE *last = fopen(part, "a");
		if (status)
			fprintf(last, "exit status: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		fclose(last);
		if (!clean())
			return 1;
		if (log_lines(0))
			return 1;
		log_from_here();
		rename(part, to);
	}
	unlink(begun);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	set_up();
	if (argc == 4 && is(argv[1], "all"))
		return clean() ? all(argv[2], argv[3]) : 1;
	if (argc != 2)
		return 2;
	play(argv[1]);
	return 0;
}
