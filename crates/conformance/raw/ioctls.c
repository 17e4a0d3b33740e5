/*
 * Raw device mapper ioctls in many shapes. For each: what it returned, errno, and every byte of the caller's buffer
 * that changed. The same program runs on Linux 6.12 (recorded beside it) and on the simulated kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { VERSION, REMOVE_ALL, LIST, CREATE, REMOVE, RENAME, SUSPEND, STATUS, WAIT, LOAD, CLEAR, DEPS, TABLE, VERSIONS, MSG, GEOMETRY, ARM, TARGET };
static const char *names[] = { "version", "remove_all", "list", "create", "remove", "rename", "suspend", "status",
	"wait", "load", "clear", "deps", "table", "versions", "message", "geometry", "arm", "target_version" };

#define HEADER 312
#define F_READONLY 0x1u
#define F_SUSPEND 0x2u
#define F_PERSISTENT 0x8u
#define F_TABLE 0x10u
#define F_SKIP_LOCKFS 0x400u
#define F_NOFLUSH 0x800u
#define F_QUERY_INACTIVE 0x1000u
#define F_UUID 0x4000u
#define F_SECURE 0x8000u
#define F_DEFERRED 0x20000u
#define F_IMA 0x80000u
#define EVERY_FLAG 0xffff7fffu

struct shape {
	uint32_t size, start, count, flags, event;
	uint64_t dev;
	const char *name, *uuid;
	const void *payload;
	uint32_t payload_len, payload_at;
};

static int control;
static unsigned char sent[1 << 16], got[1 << 16];
static const uint64_t dm_dev = 254 << 8;

static void put(int at, const void *value, int len) { memcpy(sent + at, value, len); }

/* Bytes that nobody sets are 0xa5, those behind the names 'x': what the kernel writes shows. */
static void fill(const struct shape *s)
{
	const uint32_t version[3] = { 4, 0, 0 };
	memset(sent, 0xa5, sizeof sent);
	memset(sent + 48, 'x', 305 - 48);
	put(0, version, 12);
	put(12, &s->size, 4);
	put(16, &s->start, 4);
	put(20, &s->count, 4);
	memset(sent + 24, 0, 4);
	put(28, &s->flags, 4);
	put(32, &s->event, 4);
	put(40, &s->dev, 8);
	strcpy((char *)sent + 48, s->name ? s->name : "");
	strcpy((char *)sent + 176, s->uuid ? s->uuid : "");
	if (s->payload)
		put(s->payload_at ? s->payload_at : HEADER, s->payload, s->payload_len);
	memcpy(got, sent, sizeof sent);
}

static int send_it(int cmd) { return ioctl(control, 0xc138fd00ul + cmd, got); }

static void say_changes(void)
{
	for (unsigned i = 0; i < sizeof got;) {
		if (got[i] == sent[i]) {
			i++;
			continue;
		}
		/* A run ends after eight bytes that stayed. */
		unsigned end = i + 1;
		for (unsigned k = i + 1; k < sizeof got && k < end + 8; k++)
			if (got[k] != sent[k])
				end = k + 1;
		printf(" @%u:", i);
		while (i < end) {
			unsigned same = 1;
			while (i + same < end && got[i + same] == got[i])
				same++;
			if (same > 2)
				printf("<%02x*%u>", got[i], same);
			else
				for (unsigned k = 0; k < same; k++)
					printf(got[i] > 32 && got[i] < 127 ? "%c" : "<%02x>", got[i]);
			i += same;
		}
	}
	printf("\n");
	fflush(stdout);
}

static int run(const char *label, int cmd, struct shape s)
{
	if (!s.size)
		s.size = 4096;
	if (!s.start)
		s.start = HEADER;
	if (s.start == 1)
		s.start = 0;
	fill(&s);
	errno = 0;
	int result = send_it(cmd);
	printf("%s %s: %d %d", names[cmd], label, result, result < 0 ? errno : 0);
	say_changes();
	return result;
}

static int quiet(int cmd, struct shape s)
{
	if (!s.size)
		s.size = 4096;
	s.start = HEADER;
	fill(&s);
	return send_it(cmd);
}

/* A spec with its parameters, at `at` of a buffer; returns where it ends. */
static uint32_t spec(unsigned char *to, uint64_t start, uint64_t len, const char *type, const char *params, uint32_t next)
{
	uint32_t size = (40 + strlen(params) + 1 + 7) & ~7u;
	memset(to, 0, size);
	memcpy(to, &start, 8);
	memcpy(to + 8, &len, 8);
	if (!next)
		next = size;
	memcpy(to + 20, &next, 4);
	strcpy((char *)to + 24, type);
	strcpy((char *)to + 40, params);
	return size;
}

static unsigned char table[4096];

static struct shape one_line(const char *name, uint64_t len, const char *type, const char *params)
{
	struct shape s = { .name = name, .count = 1, .payload = table };
	s.payload_len = spec(table, 0, len, type, params, 0);
	return s;
}

static void make(const char *name, const char *uuid, uint64_t len, const char *type, const char *params)
{
	int a = quiet(CREATE, (struct shape){ .name = name, .uuid = uuid });
	int b = quiet(LOAD, one_line(name, len, type, params));
	int c = quiet(SUSPEND, (struct shape){ .name = name });
	if (a | b | c)
		printf("make %s: %d %d %d\n", name, a, b, c);
}

static void clean(void) { quiet(REMOVE_ALL, (struct shape){ 0 }); }

static void fresh(void)
{
	clean();
	make("r", "U-r", 1024, "linear", "/dev/ram0 8");
	quiet(LOAD, one_line("r", 2048, "striped", "2 8 1:0 0 1:1 0"));
	make("s", "", 16, "zero", "");
}

/* A payload that suits the command. */
static struct shape with_payload(int cmd, struct shape s)
{
	static unsigned char text[512];
	memset(text, 0, sizeof text);
	s.payload = text;
	s.payload_len = 64;
	switch (cmd) {
	case RENAME:
		strcpy((char *)text, "new");
		break;
	case MSG:
		strcpy((char *)text + 8, "@stats_list");
		break;
	case GEOMETRY:
		strcpy((char *)text, "10 20 30 0");
		break;
	case LOAD:
		s.count = 1;
		s.payload_len = spec(text, 0, 512, "linear", "/dev/ram3 0", 0);
		break;
	default:
		s.payload = 0;
	}
	return s;
}

static void by_what(void)
{
	static const struct { const char *label, *name, *uuid; int dev; } ways[] = {
		{ "by name", "r", 0, 0 }, { "by uuid", 0, "U-r", 0 }, { "by dev", 0, 0, 1 }, { "by nothing", 0, 0, 0 },
		{ "by name and dev", "r", 0, 1 }, { "by uuid and dev", 0, "U-r", 1 }, { "by name and uuid", "r", "U-r", 0 },
		{ "by unknown name", "nosuch", 0, 0 }, { "by unknown uuid", 0, "nosuch", 0 },
	};
	static const uint32_t flags[] = { 0, EVERY_FLAG & ~F_SUSPEND, EVERY_FLAG, 0xffffffffu & ~F_UUID };
	for (int cmd = REMOVE_ALL; cmd <= TARGET; cmd++) {
		if (cmd == VERSIONS)
			continue;
		for (unsigned w = 0; w < sizeof ways / sizeof *ways; w++) {
			for (unsigned f = 0; f < sizeof flags / sizeof *flags; f++) {
				char label[64];
				fresh();
				struct shape s = { .name = ways[w].name, .uuid = ways[w].uuid, .dev = ways[w].dev ? dm_dev : 0,
					.flags = flags[f], .event = 7 };
				snprintf(label, sizeof label, "%s, flags %x", ways[w].label, flags[f]);
				run(label, cmd, with_payload(cmd, s));
			}
		}
	}
}

static void sizes(void)
{
	static const uint32_t all[] = { 0, 304, 305, 306, 311, 312, 313, 319, 320, 321, 328, 336, 344, 351, 352, 353, 354,
		360, 367, 368, 369, 375, 376, 377, 384, 392, 393, 400, 440 };
	for (int cmd = VERSION; cmd <= TARGET; cmd++) {
		if (cmd == VERSIONS || cmd == REMOVE_ALL)
			continue;
		for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
			char label[64];
			fresh();
			struct shape s = { .name = cmd == CREATE ? "n" : cmd == TARGET ? "linear" : cmd == LIST ? "" : "r",
				.flags = cmd == TABLE || cmd == WAIT ? F_TABLE : cmd == LIST ? F_UUID : 0, .event = 9 };
			s = with_payload(cmd, s);
			s.size = all[i] ? all[i] : 1;
			snprintf(label, sizeof label, "size %u", s.size);
			run(label, cmd, s);
		}
	}
	for (uint32_t size = 300; size < 460; size += 3) {
		char label[64];
		snprintf(label, sizeof label, "two lines, size %u", size);
		run(label, TABLE, (struct shape){ .name = "r", .size = size, .flags = F_TABLE | F_QUERY_INACTIVE });
	}
	run("size 2^30 + 1", STATUS, (struct shape){ .name = "r", .size = (1 << 30) + 1 });
	run("size 2^30", STATUS, (struct shape){ .name = "r", .size = 1 << 30 });
	run("size 2^32 - 1", TABLE, (struct shape){ .name = "r", .size = 0xffffffffu });
}

static void starts(void)
{
	static const uint32_t all[] = { 1, 304, 305, 306, 308, 311, 312, 313, 316, 320, 352, 353, 399, 400, 401, 0x7fffffff,
		0x80000000u, 0xfffffff8u, 0xffffffffu };
	static const int cmds[] = { RENAME, MSG, GEOMETRY, LOAD, STATUS, TABLE, DEPS, LIST, TARGET };
	for (unsigned c = 0; c < sizeof cmds / sizeof *cmds; c++) {
		for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
			char label[64];
			fresh();
			struct shape s = { .name = cmds[c] == TARGET ? "linear" : cmds[c] == LIST ? "" : "r", .start = all[i], .event = 9 };
			s = with_payload(cmds[c], s);
			s.size = 400;
			/* The payload stands where data_start says, if that is inside. */
			s.payload_at = all[i] >= 304 && all[i] < 400 ? all[i] : 0;
			snprintf(label, sizeof label, "start %u", all[i] == 1 ? 0 : all[i]);
			run(label, cmds[c], s);
		}
	}
}

static void loads(void)
{
	static const struct { const char *label; uint32_t count, next1; uint64_t start2; const char *type; } shapes[] = {
		{ "two of two", 2, 0, 8, "zero" }, { "one of two", 1, 0, 8, "zero" }, { "three of two", 3, 0, 8, "zero" },
		{ "no lines", 0, 0, 8, "zero" }, { "2^20 + 1 lines", 1048577, 0, 8, "zero" }, { "2^20 lines", 1048576, 0, 8, "zero" },
		{ "2^32 - 1 lines", 0xffffffffu, 0, 8, "zero" }, { "next 8", 2, 8, 8, "zero" }, { "next 40", 2, 40, 8, "zero" },
		{ "next 41", 2, 41, 8, "zero" }, { "next 44", 2, 44, 8, "zero" }, { "next far", 2, 8000, 8, "zero" },
		{ "next 2^31", 2, 0x80000000u, 8, "zero" }, { "next 2^32 - 8", 2, 0xfffffff8u, 8, "zero" },
		{ "gap", 2, 0, 16, "zero" }, { "overlap", 2, 0, 0, "zero" }, { "unknown type", 2, 0, 8, "nosuch" },
		{ "type of 16 bytes", 2, 0, 8, "aaaaaaaaaaaaaaaa" }, { "no type", 2, 0, 8, "" },
	};
	for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		fresh();
		struct shape s = { .name = "r", .count = shapes[i].count, .payload = table };
		uint32_t first = spec(table, 0, 8, "zero", "", shapes[i].next1);
		s.payload_len = first + spec(table + first, shapes[i].start2, 8, shapes[i].type, "", 0);
		run(shapes[i].label, LOAD, s);
		quiet(SUSPEND, (struct shape){ .name = "r" });
		run("after it", TABLE, (struct shape){ .name = "r", .flags = F_TABLE });
	}
	fresh();
	for (int len = 14; len <= 16; len++) {
		struct shape s = one_line("r", 8, "zero", "zz");
		memset(table + 24, 'a', len);
		run("long type", LOAD, s);
	}
	for (uint32_t size = 352; size < 356; size++) {
		struct shape s = one_line("r", 8, "zero", "");
		char label[64];
		s.size = size;
		snprintf(label, sizeof label, "zero, size %u", size);
		run(label, LOAD, s);
	}
	for (uint32_t size = 352; size < 366; size++) {
		struct shape s = one_line("r", 8, "linear", "/dev/ram0 0");
		char label[64];
		s.size = size;
		snprintf(label, sizeof label, "linear, size %u", size);
		run(label, LOAD, s);
	}
	struct shape s = one_line("r", 8, "zero", "");
	s.flags = F_READONLY;
	run("read-only", LOAD, s);
	run("read-only, asked", STATUS, (struct shape){ .name = "r", .flags = F_QUERY_INACTIVE });
	run("read-only, live asked", STATUS, (struct shape){ .name = "r" });
	run("to read-only", SUSPEND, (struct shape){ .name = "r" });
	run("read-only live", STATUS, (struct shape){ .name = "r" });
	s.flags = F_SECURE;
	run("secure", LOAD, s);
	s.name = "nosuch";
	run("secure, failing", LOAD, s);
	s.name = "r";
	s.size = 353;
	run("secure, short", LOAD, s);
}

static void measurements(void)
{
	static const struct { const char *type; uint64_t len; const char *params; } all[] = {
		{ "linear", 1024, "/dev/ram0 8" }, { "striped", 1024, "2 8 /dev/ram0 0 /dev/ram1 16" }, { "striped", 24, "1 8 1:2 0" },
		{ "zero", 8, "" }, { "error", 8, "" }, { "error", 8, "/dev/ram0 8" },
		{ "snapshot-origin", 1024, "/dev/ram4" }, { "snapshot", 1024, "/dev/ram4 /dev/ram5 P 8" },
		{ "snapshot", 1024, "/dev/ram4 /dev/ram6 N 16 1 discard_passdown_origin" },
		{ "snapshot", 1024, "/dev/ram4 /dev/ram7 PO 32 2 discard_zeroes_cow discard_passdown_origin" },
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		static const uint32_t flags[] = { 0, F_TABLE, F_IMA, F_IMA | F_TABLE, F_IMA | F_QUERY_INACTIVE, F_QUERY_INACTIVE | F_NOFLUSH };
		clean();
		make("m", "", all[i].len, all[i].type, all[i].params);
		for (unsigned f = 0; f < sizeof flags / sizeof *flags; f++) {
			char label[128];
			snprintf(label, sizeof label, "%s %s, flags %x", all[i].type, all[i].params, flags[f]);
			run(label, TABLE, (struct shape){ .name = "m", .flags = flags[f] });
		}
		run(all[i].type, DEPS, (struct shape){ .name = "m" });
	}
	clean();
}

static void say(const char *name, const char *text, uint64_t sector, uint32_t size, uint32_t flags)
{
	static unsigned char message[4096];
	char label[128];
	memset(message, 0, sizeof message);
	memcpy(message, &sector, 8);
	strcpy((char *)message + 8, text);
	snprintf(label, sizeof label, "%s to %s at %llu, size %u", text, name, (unsigned long long)sector, size);
	run(label, MSG, (struct shape){ .name = name, .size = size, .payload = message, .payload_len = 8 + strlen(text) + 1, .flags = flags });
}

static void messages(void)
{
	static const char *texts[] = { "@stats_create 0+64 /2 prog aux\\ data", "@stats_create - 100", "@stats_create 8+8 4 1 precise_timestamps p",
		"@stats_create - /3 2 histogram:10,20 precise_timestamps h a", "@stats_list", "@STATS_LIST", "@stats_list prog", "@stats_list nosuch",
		"@stats_list a b", "@stats_print 0", "@stats_print 0 0 1", "@stats_print 0 1 1", "@stats_print 0 2 1", "@stats_print 0 0",
		"@stats_print 0 -1 1", "@stats_print 9", "@stats_print", "@stats_print_clear 0", "@stats_print_clear 9", "@stats_clear 0",
		"@stats_clear 9", "@stats_clear", "@stats_set_aux 0 other", "@stats_set_aux 0 -", "@stats_set_aux 9 x", "@stats_set_aux 0",
		"@stats_list", "@stats_delete 9", "@stats_delete", "@stats_delete x", "@stats_delete 0", "@stats_list", "@stats_nosuch", "@", "hello",
		"", "   ", "@cancel_deferred_remove", "@CANCEL_deferred_remove", "@cancel_deferred_remove 1", "@stats_create", "@stats_create 0+0 1",
		"@stats_create 10+5 0", "@stats_create 10+5 /0", "@stats_create 10+5 1 1", "@stats_create 1020+10 1", "@stats_create 1024+1 1",
		"@stats_create 5 1", "@stats_create - 18446744073709551615", "@stats_create - /18446744073709551615", "@stats_create - 1 x y z",
		"@stats_create 0+18446744073709551615 /1", "@stats_create 18446744073709551615+2 1" };
	fresh();
	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
		say("r", texts[i], 0, 4096, 0);
	for (uint32_t size = 312; size < 420; size += size < 350 ? 1 : 9)
		say("r", "@stats_list", 0, size < 332 ? 332 : size, 0);
	say("r", "hello", 1023, 4096, 0);
	say("r", "hello", 1024, 4096, 0);
	say("r", "hello", 1024, 4096, F_QUERY_INACTIVE);
	say("r", "hello", 0xffffffffffffffffull, 4096, 0);
	quiet(CREATE, (struct shape){ .name = "e" });
	say("e", "hello", 0, 4096, 0);
	say("e", "", 0, 4096, 0);
	say("e", "@stats_list", 0, 4096, 0);
	say("e", "@stats_create - 1", 0, 4096, 0);
	say("r", "@stats_list", 0, 4096, EVERY_FLAG);
	/* Where an answer stands when the message stood elsewhere. */
	static char message[64];
	strcpy(message + 8, "@stats_list");
	fresh();
	for (int filled = 0; filled < 2; filled++) {
		for (uint32_t start = 305; start < 330; start += 3) {
			char label[64];
			snprintf(label, sizeof label, "list of %d at start %u", filled, start);
			run(label, MSG, (struct shape){ .name = "r", .start = start, .payload_at = start, .payload = message, .payload_len = 20, .size = 400 });
		}
		say("r", "@stats_create - 512", 0, 4096, 0);
	}
}

static void states(void)
{
	fresh();
	run("resume with noflush", SUSPEND, (struct shape){ .name = "r", .flags = F_NOFLUSH | F_SKIP_LOCKFS });
	run("suspend", SUSPEND, (struct shape){ .name = "r", .flags = F_SUSPEND });
	run("suspended", STATUS, (struct shape){ .name = "r" });
	run("suspend again", SUSPEND, (struct shape){ .name = "r", .flags = F_SUSPEND | F_NOFLUSH });
	run("suspended", TABLE, (struct shape){ .name = "r", .flags = F_NOFLUSH });
	run("suspended", DEPS, (struct shape){ .name = "r" });
	run("suspended", CLEAR, (struct shape){ .name = "r" });
	struct shape rename = { .name = "r", .payload = "q", .payload_len = 2, .flags = F_QUERY_INACTIVE };
	run("suspended", RENAME, rename);
	run("resume", SUSPEND, (struct shape){ .name = "q", .event = 0x610001 });
	run("resume again", SUSPEND, (struct shape){ .name = "q", .event = 0x610001 });
	run("none to clear", CLEAR, (struct shape){ .name = "q" });
	run("another number", WAIT, (struct shape){ .name = "q", .event = 0, .flags = F_QUERY_INACTIVE });
	run("a higher number", WAIT, (struct shape){ .name = "q", .event = 99, .flags = F_TABLE });
	run("inactive, none", TABLE, (struct shape){ .name = "q", .flags = F_QUERY_INACTIVE });
	run("inactive, none", DEPS, (struct shape){ .name = "q", .flags = F_QUERY_INACTIVE });
	run("suspend", SUSPEND, (struct shape){ .name = "q", .flags = F_SUSPEND });
	run("suspended", REMOVE, (struct shape){ .name = "q", .event = 0x610002 });
	run("gone", STATUS, (struct shape){ .name = "q" });

	/* Without a table. */
	run("empty", CREATE, (struct shape){ .name = "e", .flags = 0 });
	run("empty", STATUS, (struct shape){ .name = "e" });
	run("empty", TABLE, (struct shape){ .name = "e" });
	run("empty", DEPS, (struct shape){ .name = "e" });
	run("empty", CLEAR, (struct shape){ .name = "e" });
	run("empty", WAIT, (struct shape){ .name = "e", .event = 1 });
	run("resume of empty", SUSPEND, (struct shape){ .name = "e" });
	run("suspend of empty", SUSPEND, (struct shape){ .name = "e", .flags = F_SUSPEND });
	run("resume of suspended empty", SUSPEND, (struct shape){ .name = "e" });
	run("suspended empty", STATUS, (struct shape){ .name = "e" });
	quiet(LOAD, one_line("e", 8, "zero", ""));
	run("loaded", STATUS, (struct shape){ .name = "e", .flags = F_QUERY_INACTIVE });
	run("clear", CLEAR, (struct shape){ .name = "e" });
	quiet(LOAD, one_line("e", 8, "zero", ""));
	run("rename, not live", RENAME, (struct shape){ .name = "e", .payload = "f", .payload_len = 2, .event = 0x610003 });
	run("uuid", RENAME, (struct shape){ .name = "f", .payload = "U-f", .payload_len = 4, .flags = F_UUID });
	run("uuid again", RENAME, (struct shape){ .name = "f", .payload = "U-f", .payload_len = 4, .flags = F_UUID });
	run("another uuid", RENAME, (struct shape){ .name = "f", .payload = "U-g", .payload_len = 4, .flags = F_UUID });
	run("to itself", RENAME, (struct shape){ .name = "f", .payload = "f", .payload_len = 2 });
	run("with uuid sent", RENAME, (struct shape){ .name = "", .uuid = "U-f", .payload = "k", .payload_len = 2 });
	run("with dev sent", RENAME, (struct shape){ .name = "f", .dev = dm_dev, .payload = "k", .payload_len = 2 });
	run("remove, never live", REMOVE, (struct shape){ .name = "k", .event = 0x610004, .flags = F_DEFERRED });
	clean();

	/* Minors. */
	run("persistent 0", CREATE, (struct shape){ .name = "p", .flags = F_PERSISTENT });
	run("persistent 0 again", CREATE, (struct shape){ .name = "p2", .flags = F_PERSISTENT });
	run("persistent 5", CREATE, (struct shape){ .name = "p5", .flags = F_PERSISTENT, .dev = 5 });
	run("persistent 300, other major", CREATE, (struct shape){ .name = "p300", .uuid = "U", .flags = F_PERSISTENT, .dev = (8 << 8) | (300 & 0xff) | ((300ull & ~0xffull) << 12) });
	run("persistent 2^20", CREATE, (struct shape){ .name = "big", .flags = F_PERSISTENT, .dev = 1ull << 32 });
	run("persistent, all bits", CREATE, (struct shape){ .name = "bits", .flags = F_PERSISTENT, .dev = ~0ull });
	run("persistent, high bits alone", CREATE, (struct shape){ .name = "bit", .flags = F_PERSISTENT, .dev = 1ull << 40 });
	run("dev, not persistent", CREATE, (struct shape){ .name = "d", .dev = 77 });
	run("name taken", CREATE, (struct shape){ .name = "p" });
	run("uuid taken", CREATE, (struct shape){ .name = "u", .uuid = "U" });
	run("name and minor taken", CREATE, (struct shape){ .name = "p", .flags = F_PERSISTENT });
	run("all", LIST, (struct shape){ .flags = F_UUID });
	run("all without uuid", LIST, (struct shape){ 0 });
	run("prefix p", LIST, (struct shape){ .name = "p" });
	run("prefix of uuid", LIST, (struct shape){ .uuid = "U", .flags = F_UUID });
	run("prefix of both", LIST, (struct shape){ .name = "p3", .uuid = "U" });
	run("prefix of none", LIST, (struct shape){ .name = "zz", .size = 319 });
	run("prefix of none", LIST, (struct shape){ .name = "zz", .size = 320 });
	run("by dev with high bits", STATUS, (struct shape){ .dev = dm_dev | 1ull << 40 });
	run("by dev, foreign major", STATUS, (struct shape){ .dev = 1 << 8 });
	run("by dev, unused minor", STATUS, (struct shape){ .dev = dm_dev + 200 });
	clean();

	/* Deferred removal. */
	fresh();
	make("top", "", 8, "linear", "254:0 0");
	run("of an open one", REMOVE, (struct shape){ .name = "r" });
	run("of an open one, deferred", REMOVE, (struct shape){ .name = "r", .flags = F_DEFERRED, .event = 5, .dev = 0 });
	run("marked", STATUS, (struct shape){ .name = "r" });
	run("marked, again", REMOVE, (struct shape){ .dev = dm_dev, .flags = F_DEFERRED });
	say("r", "@cancel_deferred_remove", 0, 4096, 0);
	run("no longer marked", STATUS, (struct shape){ .name = "r" });
	run("no longer marked, flag sent", STATUS, (struct shape){ .name = "r", .flags = F_DEFERRED });
	run("all, deferred", REMOVE_ALL, (struct shape){ .flags = F_DEFERRED });
	usleep(200000);
	run("gone with its top", LIST, (struct shape){ 0 });

	/* Resizing, failing swaps. */
	fresh();
	quiet(LOAD, one_line("r", 1000000, "linear", "/dev/ram0 0"));
	run("too long", SUSPEND, (struct shape){ .name = "r" });
	run("left suspended", STATUS, (struct shape){ .name = "r" });
	run("revived", SUSPEND, (struct shape){ .name = "r" });
	quiet(LOAD, one_line("r", 64, "linear", "/dev/ram0 0"));
	run("smaller", SUSPEND, (struct shape){ .name = "r", .event = 0x610009 });
	clean();
	/* A first load that fails leaves the device without a disk. */
	quiet(CREATE, (struct shape){ .name = "x" });
	run("first, too long", LOAD, one_line("x", 1000000, "linear", "/dev/ram0 0"));
	run("after a failed first load", STATUS, (struct shape){ .name = "x" });
	run("after a failed first load", REMOVE, (struct shape){ .name = "x" });
}

static void geometries(void)
{
	static const char *all[] = { "1 2 3 4", "1 2 3 6", "1 2 3 7", " 1 2 3 4", "1 2 3 4 ", "1  2\t3\n4", "1 2 3", "1 2 3 4 5", "1 2 3 4x", "65535 255 255 0",
		"65536 1 1 0", "1 256 1 0", "1 1 256 0", "-1 1 1 0", "+1 1 1 0", "0 0 0 0", "0x1 1 1 0", "1 1 1 -0", "4294967297 1 1 0", "18446744073709551617 1 1 0", "", "1,2,3,4", "01 02 03 04" };
	fresh();
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		run(all[i], GEOMETRY, (struct shape){ .name = "r", .payload = all[i], .payload_len = strlen(all[i]) + 1 });
	quiet(CREATE, (struct shape){ .name = "e" });
	run("without table", GEOMETRY, (struct shape){ .name = "e", .payload = "1 2 3 4", .payload_len = 8 });
	run("all flags", GEOMETRY, (struct shape){ .name = "r", .payload = "1 2 3 4", .payload_len = 8, .flags = EVERY_FLAG });
	run("secure", GEOMETRY, (struct shape){ .name = "r", .payload = "1 2 3 4", .payload_len = 8, .flags = F_SECURE, .size = 330 });
}

static void strings(void)
{
	static char text[256];
	fresh();
	for (int len = 126; len <= 130; len++) {
		char label[64];
		memset(text, 'n', sizeof text);
		text[len] = 0;
		snprintf(label, sizeof label, "name of %d", len);
		run(label, RENAME, (struct shape){ .name = "r", .payload = text, .payload_len = len + 1 });
		fresh();
		snprintf(label, sizeof label, "uuid of %d", len);
		run(label, RENAME, (struct shape){ .name = "s", .payload = text, .payload_len = len + 1, .flags = F_UUID });
		fresh();
	}
	run("empty", RENAME, (struct shape){ .name = "r", .payload = "", .payload_len = 1 });
	run("empty uuid", RENAME, (struct shape){ .name = "r", .payload = "", .payload_len = 1, .flags = F_UUID });
	run("slash", RENAME, (struct shape){ .name = "r", .payload = "a/b", .payload_len = 4 });
	run("slash in uuid", RENAME, (struct shape){ .name = "s", .payload = "a/b", .payload_len = 4, .flags = F_UUID });
	run("control", RENAME, (struct shape){ .name = "r", .payload = "control", .payload_len = 8 });
	run("dot", RENAME, (struct shape){ .name = "r", .payload = ".", .payload_len = 2 });
	run("dots", RENAME, (struct shape){ .name = "nosuch", .payload = "..", .payload_len = 3 });
	run("taken", RENAME, (struct shape){ .name = "nosuch", .payload = "r", .payload_len = 2 });
	run("slash", CREATE, (struct shape){ .name = "a/b" });
	run("control", CREATE, (struct shape){ .name = "control" });
	run("slash in uuid", CREATE, (struct shape){ .name = "c", .uuid = "a/b" });
	run("spaces", CREATE, (struct shape){ .name = "a b\\\x01\xff" });
	/* Fields without a NUL. */
	struct shape s = { .name = "", .uuid = "", .size = 4096, .start = HEADER };
	fill(&s);
	memset(sent + 48, 'y', 128);
	memcpy(got, sent, sizeof sent);
	int result = send_it(CREATE);
	printf("create with a name without end: %d %d", result, result ? errno : 0);
	say_changes();
	fill(&s);
	memset(sent + 48, 'y', 128);
	memcpy(got, sent, sizeof sent);
	result = send_it(STATUS);
	printf("status with a name without end: %d %d", result, result ? errno : 0);
	say_changes();
	clean();
	static const char *types[] = { "linear", "striped", "zero", "error", "snapshot", "snapshot-origin", "nosuch", "", "linearx", "linea" };
	for (unsigned i = 0; i < sizeof types / sizeof *types; i++)
		run(types[i], TARGET, (struct shape){ .name = types[i] });
	run("linear, uuid too", TARGET, (struct shape){ .name = "linear", .uuid = "x" });
}

static void versions(void)
{
	static const uint32_t all[][3] = { { 4, 0, 0 }, { 4, 48, 0 }, { 4, 48, 99 }, { 4, 49, 0 }, { 3, 0, 0 }, { 5, 0, 0 }, { 0, 0, 0 } };
	struct shape s = { .size = 0 };
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		for (int cmd = VERSION; cmd < 40; cmd += 19) {
			fill(&s);
			put(0, all[i], 12);
			memcpy(got, sent, sizeof sent);
			int result = send_it(cmd);
			printf("command %d, version %u.%u.%u: %d %d", cmd, all[i][0], all[i][1], all[i][2], result, result ? errno : 0);
			say_changes();
		}
	}
	static const unsigned long requests[] = { 0xc138fd12, 0xc138fdff, 0xfd00, 0xfd12, 0xc138fe00, 0x4138fd03, 0x5401, 0x1260 };
	for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++) {
		fill(&s);
		int result = ioctl(control, requests[i], got);
		printf("request %lx: %d %d", requests[i], result, result ? errno : 0);
		say_changes();
	}
	int result = ioctl(control, 0xc138fd00ul, NULL);
	printf("null: %d %d\n", result, errno);
	result = read(control, got, 1);
	printf("read: %d %d\n", result, errno);
	result = write(control, got, 1);
	printf("write: %d %d\n", result, errno);
	result = lseek(control, 0, SEEK_SET);
	printf("seek: %d %d\n", result, errno);
}

int main(void)
{
	control = open("/dev/mapper/control", O_RDWR);
	if (control < 0) {
		perror("/dev/mapper/control");
		return 1;
	}
	clean();
	versions();
	by_what();
	sizes();
	starts();
	loads();
	measurements();
	messages();
	states();
	geometries();
	strings();
	clean();
	return 0;
}
