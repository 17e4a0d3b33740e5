/*
 * Block ioctls, odd reads and odd writes on the devices named on the command line: what each returned, errno, and the
 * value where there is one. The same program runs on Linux 6.12 (recorded beside it) and on the simulated kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct { const char *name; unsigned long number; int size; } gets[] = {
	{ "BLKROGET", 0x125e, 4 }, { "BLKGETSIZE", 0x1260, 8 }, { "BLKRAGET", 0x1263, 8 }, { "BLKFRAGET", 0x1265, 8 },
	{ "BLKSECTGET", 0x1267, 2 }, { "BLKSSZGET", 0x1268, 4 }, { "BLKBSZGET", 0x80081270, 4 }, { "BLKGETSIZE64", 0x80081272, 8 },
	{ "BLKIOMIN", 0x1278, 4 }, { "BLKIOOPT", 0x1279, 4 }, { "BLKALIGNOFF", 0x127a, 4 }, { "BLKPBSZGET", 0x127b, 4 },
	{ "BLKDISCARDZEROES", 0x127c, 4 }, { "BLKROTATIONAL", 0x127e, 2 }, { "BLKGETZONESZ", 0x80041284, 4 },
	{ "BLKGETNRZONES", 0x80041285, 4 }, { "HDIO_GETGEO", 0x0301, 16 }, { "FIGETBSZ", 2, 4 },
	{ "FIBMAP", 1, 4 }, { "CDROM_GET_CAPABILITY", 0x5331, 4 }, { "SG_IO", 0x2285, 4 }, { "HDIO_GET_IDENTITY", 0x030d, 4 },
	{ "BLKTRACESTART", 0x1274, 4 }, { "BLKTRACESTOP", 0x1275, 4 }, { "BLKTRACETEARDOWN", 0x1276, 4 }, { "LOOP_CLR_FD", 0x4c01, 4 }, { "nothing known", 0x12fe, 4 },
};

static void say(const char *what, long result)
{
	printf("  %s: %ld %d\n", what, result, result < 0 ? errno : 0);
	fflush(stdout);
}

static void range(int fd, const char *name, unsigned long number, uint64_t start, uint64_t len)
{
	uint64_t range[2] = { start, len };
	char what[96];
	snprintf(what, sizeof what, "%s %llu+%llu", name, (unsigned long long)start, (unsigned long long)len);
	say(what, ioctl(fd, number, range));
}

static void io(int fd, const char *name, uint64_t at, size_t len, int writes)
{
	static unsigned char *memory;
	char what[96];
	if (!memory && posix_memalign((void **)&memory, 4096, 1 << 20))
		exit(2);
	memset(memory, 0x5a, len);
	long got = writes ? pwrite(fd, memory, len, at) : pread(fd, memory, len, at);
	snprintf(what, sizeof what, "%s %s %llu+%zu", name, writes ? "write" : "read", (unsigned long long)at, len);
	unsigned sum = 0;
	for (long i = 0; i < got && !writes; i++)
		sum = sum * 31 + memory[i];
	int error = errno;
	printf("  %s: %ld %d, sum %08x\n", what, got, got < 0 ? error : 0, sum);
	fflush(stdout);
}

static void one(const char *path)
{
	printf("%s\n", path);
	int fd = open(path, O_RDWR);
	if (fd < 0) {
		say("open", fd);
		return;
	}
	uint64_t size = 0;
	ioctl(fd, 0x80081272, &size);
	for (unsigned i = 0; i < sizeof gets / sizeof *gets; i++) {
		unsigned char value[64];
		memset(value, 0xa5, sizeof value);
		long result = ioctl(fd, gets[i].number, value);
		printf("  %s: %ld %d", gets[i].name, result, result < 0 ? errno : 0);
		for (int k = 0; k < gets[i].size; k++)
			printf("%s%02x", k ? "" : " ", value[k]);
		printf("%s\n", value[gets[i].size] == 0xa5 ? "" : " more");
	}
	say("BLKRASET 7", ioctl(fd, 0x1262, 7));
	say("BLKFRASET 512", ioctl(fd, 0x1264, 512));
	unsigned block = 512;
	static const unsigned blocks[] = { 512, 1024, 4096, 8192, 256, 1000, 65536, 0 };
	for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++) {
		char what[64];
		block = blocks[i];
		snprintf(what, sizeof what, "BLKBSZSET %u", block);
		say(what, ioctl(fd, 0x40081271, &block));
	}
	say("BLKFLSBUF", ioctl(fd, 0x1261, 0));
	say("BLKRRPART", ioctl(fd, 0x125f, 0));
	int on = 1;
	say("BLKROSET 1", ioctl(fd, 0x125d, &on));
	int second = open(path, O_RDWR);
	say("open for writing while read-only", second < 0 ? -1 : 0);
	if (second >= 0)
		close(second);
	io(fd, "while read-only", 0, 512, 1);
	range(fd, "BLKDISCARD while read-only", 0x1277, 0, 4096);
	on = 0;
	say("BLKROSET 0", ioctl(fd, 0x125d, &on));
	static const struct { const char *name; unsigned long number; } ranges[] = {
		{ "BLKDISCARD", 0x1277 }, { "BLKSECDISCARD", 0x127d }, { "BLKZEROOUT", 0x127f } };
	for (unsigned i = 0; i < 3; i++) {
		const char *name = ranges[i].name;
		unsigned long number = ranges[i].number;
		range(fd, name, number, 0, 0);
		range(fd, name, number, 0, 512);
		range(fd, name, number, 512, 1024);
		range(fd, name, number, 1, 512);
		range(fd, name, number, 0, 100);
		range(fd, name, number, 4096, 65536);
		range(fd, name, number, size - 512, 512);
		range(fd, name, number, size - 512, 1024);
		range(fd, name, number, size, 512);
		range(fd, name, number, ~0ull - 511, 512);
		range(fd, name, number, ~0ull - 511, 1024);
		range(fd, name, number, 0, size);
	}
	int reader = open(path, O_RDONLY);
	range(reader, "read-only descriptor: BLKDISCARD", 0x1277, 0, 512);
	range(reader, "read-only descriptor: BLKZEROOUT", 0x127f, 0, 512);
	io(reader, "read-only descriptor:", 0, 512, 1);
	close(reader);
	static const struct { uint64_t at; int from_end; size_t len; } places[] = {
		{ 0, 0, 512 }, { 0, 0, 4096 }, { 1, 0, 512 }, { 511, 0, 2 }, { 512, 0, 512 }, { 4095, 0, 4098 }, { 0, 0, 100 },
		{ 3, 0, 0 }, { 512, 1, 512 }, { 512, 1, 1024 }, { 1, 1, 1 }, { 1, 1, 2 }, { 0, 1, 1 }, { 0, 1, 512 }, { 0, 1, 0 },
		{ 3584, 0, 1024 }, { 1024, 1, 65536 }, { 0, 0, 65536 }, { 2048, 0, 131072 },
	};
	for (int direct = 0; direct < 2; direct++) {
		int f = open(path, O_RDWR | (direct ? O_DIRECT : 0));
		const char *name = direct ? "direct" : "buffered";
		for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
			for (int writes = 1; writes >= 0; writes--)
				io(f, name, places[i].from_end ? size - places[i].at : places[i].at, places[i].len, writes);
		io(f, name, ~0ull >> 1, 512, 0);
		io(f, name, ~0ull >> 1, 512, 1);
		io(f, name, ~0ull, 512, 0);
		say("fsync", fsync(f));
		say("fdatasync", fdatasync(f));
		say("sync_file_range", sync_file_range(f, 0, 4096, SYNC_FILE_RANGE_WRITE));
		say("close", close(f));
	}
	say("seek to the end", lseek(fd, 0, SEEK_END));
	say("seek beyond it", lseek(fd, 1, SEEK_END));
	say("seek before the start", lseek(fd, -1, SEEK_SET));
	say("seek for data", lseek(fd, 100, SEEK_DATA));
	say("seek for a hole", lseek(fd, 100, SEEK_HOLE));
	say("ftruncate", ftruncate(fd, 0));
	say("fallocate", fallocate(fd, 0, 0, 4096));
	say("fallocate, punch", fallocate(fd, 3, 0, 4096));
	say("fallocate, punch without keep", fallocate(fd, 2, 0, 4096));
	say("fallocate, zero", fallocate(fd, 0x11, 4096, 4096));
	say("fallocate, zero without keep", fallocate(fd, 0x10, 4096, 4096));
	say("fallocate, odd", fallocate(fd, 0x11, 100, 4096));
	say("fallocate, beyond", fallocate(fd, 0x11, size - 4096, 8192));
	say("fallocate, all beyond", fallocate(fd, 0x11, size + 4096, 4096));
	say("fallocate, discard", fallocate(fd, 7, 4096, 4096));
	io(fd, "last", 0, 16384, 0);
	say("close", close(fd));
	int exclusive = open(path, O_RDWR | O_EXCL);
	say("open, exclusive", exclusive < 0 ? -1 : 0);
	int again = open(path, O_RDONLY | O_EXCL);
	say("open, exclusive, twice", again < 0 ? -1 : 0);
	if (exclusive >= 0)
		close(exclusive);
	if (again >= 0)
		close(again);
	say("open as a directory", open(path, O_RDONLY | O_DIRECTORY));
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		one(argv[i]);
	return 0;
}
