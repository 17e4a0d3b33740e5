/* Calls on the descriptor of a block device: what each returns, printed as it comes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char *memory; /* aligned to a page */
static char *name;
static long size;

static void show(const char *what, long result) {
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static int at(int flags) {
	int fd = open(name, flags);
	if (fd < 0)
		printf("open %x: %s\n", flags, strerrorname_np(errno));
	return fd;
}

static long position(int fd) { return lseek(fd, 0, SEEK_CUR); }

static void show_at(const char *what, int fd, long result) {
	if (result < 0)
		printf("%s: %s, at %ld\n", what, strerrorname_np(errno), position(fd));
	else
		printf("%s: %ld, at %ld\n", what, result, position(fd));
}

/* The first eight bytes at a place, by a descriptor of its own. */
static void shows(const char *what, long pos) {
	char bytes[9] = "";
	int fd = at(O_RDONLY);
	pread(fd, bytes, 8, pos);
	for (int i = 0; i < 8; i++)
		if (bytes[i] == 0)
			bytes[i] = '.';
	printf("%s: at %ld is %s\n", what, pos, bytes);
	close(fd);
}

static void wipe(void) {
	int fd = at(O_RDWR);
	memset(memory, 0, 65536);
	pwrite(fd, memory, 65536, 0);
	fsync(fd);
	close(fd);
}

static void append(int direct) {
	printf("== append %s\n", direct ? "direct" : "buffered");
	wipe();
	long unit = direct ? 512 : 3;
	int fd = at(O_RDWR | O_APPEND | direct);
	memset(memory, 'a', 4096);
	show_at("write", fd, write(fd, memory, unit));
	show_at("write", fd, write(fd, memory, unit));
	show_at("pwrite", fd, pwrite(fd, memory, unit, 4096));
	shows("pwrite", 4096);
	shows("end of write", 2 * unit - 3);
	show_at("seek", fd, lseek(fd, 8192, SEEK_SET));
	show_at("write", fd, write(fd, memory, unit));
	shows("write", 8192);
	lseek(fd, size - unit, SEEK_SET);
	show_at("last", fd, write(fd, memory, unit));
	show_at("past", fd, write(fd, memory, unit));
	close(fd);
	fd = at(O_RDWR | direct);
	show("F_SETFL", fcntl(fd, F_SETFL, O_APPEND | direct));
	printf("F_GETFL %x\n", fcntl(fd, F_GETFL));
	show_at("write", fd, write(fd, memory, unit));
	fcntl(fd, F_SETFL, direct);
	struct iovec v = {memory, unit};
	show_at("pwritev2 RWF_APPEND", fd, pwritev2(fd, &v, 1, 16384, 0x10));
	shows("RWF_APPEND", 16384);
	show_at("pwritev2 RWF_APPEND -1", fd, pwritev2(fd, &v, 1, -1, 0x10));
	close(fd);
}

static void vectors(int direct) {
	printf("== preadv2 and pwritev2 %s\n", direct ? "direct" : "buffered");
	wipe();
	int fd = at(O_RDWR | direct);
	struct iovec v = {memory, 4096};
	char what[64];
	static const int flags[] = {0, 1, 2, 4, 6, 8, 9, 0x10, 0x20, 0x30, 0x40, 0x80, 0x88, 0x100, 0x1000, -1};
	for (int i = 0; flags[i] >= 0; i++) {
		lseek(fd, 4096, SEEK_SET);
		sprintf(what, "read %x", flags[i]);
		show_at(what, fd, preadv2(fd, &v, 1, 8192, flags[i]));
		sprintf(what, "read %x at -1", flags[i]);
		show_at(what, fd, preadv2(fd, &v, 1, -1, flags[i]));
		sprintf(what, "write %x", flags[i]);
		show_at(what, fd, pwritev2(fd, &v, 1, 8192, flags[i]));
		sprintf(what, "write %x at -1", flags[i]);
		show_at(what, fd, pwritev2(fd, &v, 1, -1, flags[i]));
	}
	show("read at -2", preadv2(fd, &v, 1, -2, 0));
	show("write at -2", pwritev2(fd, &v, 1, -2, 0));
	show("preadv at -1", preadv(fd, &v, 1, -1));
	show("pread at -1", pread(fd, memory, 512, -1));
	show("pwrite at -1", pwrite(fd, memory, 512, -1));
	show("no vectors", preadv2(fd, &v, 0, 0, 0));
	show("-1 vectors", preadv2(fd, &v, -1, 0, 0));
	show("1025 vectors", preadv2(fd, &v, 1025, 0, 0));
	struct iovec long_one = {memory, (size_t)-1};
	show("length -1", readv(fd, &long_one, 1));
	struct iovec two[2] = {{memory, 512}, {memory + 8192, 1024}};
	show("two vectors", preadv(fd, two, 2, 512));
	two[1].iov_len = 100;
	show("an odd vector", preadv(fd, two, 2, 512));
	show("an odd vector, written", pwritev(fd, two, 2, 512));
	two[1].iov_len = 0;
	two[1].iov_base = memory + 1;
	show("an odd vector of no length", preadv(fd, two, 2, 512));
	show("past the end", pread(fd, memory, 512, size));
	show("past the end, written", pwrite(fd, memory, 512, size));
	show("over the end", pread(fd, memory, 4096, size - 512));
	show("over the end, written", pwrite(fd, memory, 4096, size - 512));
	show("over the end, odd", pread(fd, memory, 4097, size - 512));
	show("over the end, odd, written", pwrite(fd, memory, 4097, size - 512));
	show("no bytes", pread(fd, memory + 1, 0, 1));
	show("no bytes, written", pwrite(fd, memory + 1, 0, 1));
	show("no bytes past the end, written", pwrite(fd, memory, 0, size + 512));
	show("far past the end", pread(fd, memory, 512, INT64_MAX - 100));
	show("far past the end, written", pwrite(fd, memory, 512, INT64_MAX - 100));
	close(fd);
	static const int offsets[] = {0, 1, 2, 4, 8, 16, 64, 256, 512, 1024, -1};
	fd = at(O_RDWR | direct);
	for (int i = 0; offsets[i] >= 0; i++) {
		sprintf(what, "memory + %d", offsets[i]);
		show(what, pread(fd, memory + offsets[i], 4096, 0));
		sprintf(what, "memory + %d, written", offsets[i]);
		show(what, pwrite(fd, memory + offsets[i], 4096, 0));
		sprintf(what, "position %d", offsets[i]);
		show(what, pread(fd, memory, 4096, offsets[i]));
		sprintf(what, "length 4096 + %d", offsets[i]);
		show(what, pwrite(fd, memory, 4096 + offsets[i], 0));
	}
	close(fd);
}

static void pipes(int direct) {
	printf("== splice and sendfile %s\n", direct ? "direct" : "buffered");
	wipe();
	int p[2], q[2];
	off_t pos, other;
	pipe(p);
	pipe(q);
	int fd = at(O_RDWR | direct), second = at(O_RDWR | direct);
	int file = open("calls.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(memory, 'f', 65536);
	write(file, memory, 16384);
	show_at("splice out 4096", fd, splice(fd, 0, p[1], 0, 4096, 0));
	show("drain", read(p[0], memory, 65536));
	show_at("splice out 100", fd, splice(fd, 0, p[1], 0, 100, 0));
	show("drain", direct ? 0 : read(p[0], memory, 65536));
	close(p[0]), close(p[1]), pipe(p);
	show_at("splice out at an odd place", fd, splice(fd, 0, p[1], 0, 4096, 0));
	close(p[0]), close(p[1]), pipe(p);
	pos = 1024;
	show_at("splice out with a position", fd, splice(fd, &pos, p[1], 0, 512, 0));
	printf("position %ld\n", (long)pos);
	close(p[0]), close(p[1]), pipe(p);
	pos = 1001;
	show_at("splice out with an odd position", fd, splice(fd, &pos, p[1], 0, 512, 0));
	printf("position %ld\n", (long)pos);
	close(p[0]), close(p[1]), pipe(p);
	pos = size;
	show("splice out past the end", splice(fd, &pos, p[1], 0, 512, 0));
	pos = size - 512;
	show("splice out over the end", splice(fd, &pos, p[1], 0, 4096, 0));
	printf("position %ld\n", (long)pos);
	close(p[0]), close(p[1]), pipe(p);
	pos = -1;
	show("splice out at -1", splice(fd, &pos, p[1], 0, 512, 0));
	pos = 0;
	other = 0;
	show("splice with a position of the pipe", splice(fd, &pos, p[1], &other, 512, 0));
	show("splice of no bytes", splice(fd, &pos, p[1], 0, 0, 0));
	show("splice with odd flags", splice(fd, &pos, p[1], 0, 512, 0x100));
	show("splice to the wrong end", splice(fd, &pos, p[0], 0, 512, 0));
	show("splice from device to device", splice(fd, 0, second, 0, 512, 0));
	show("splice from device to file", splice(fd, 0, file, 0, 512, 0));
	show("splice from nothing", splice(-1, 0, fd, 0, 512, 0));
	show("splice to nothing", splice(fd, 0, -1, 0, 512, 0));
	/* into the device */
	lseek(fd, 0, SEEK_SET);
	memset(memory, 'p', 65536);
	write(p[1], memory, 4096);
	show_at("splice in 512", fd, splice(p[0], 0, fd, 0, 512, 0));
	shows("splice in", 0);
	show_at("splice in 100", fd, splice(p[0], 0, fd, 0, 100, 0));
	show("left", ioctl(p[0], FIONREAD, memory) == 0 ? *(int *)memory : -1);
	close(p[0]), close(p[1]), pipe(p);
	memset(memory, 'p', 65536);
	write(p[1], memory, 4096);
	pos = 8192;
	lseek(fd, 512, SEEK_SET);
	show_at("splice in with a position", fd, splice(p[0], 0, fd, &pos, 1024, 0));
	printf("position %ld\n", (long)pos);
	shows("splice in", 8192);
	pos = 8192 + 100;
	show("splice in with an odd position", splice(p[0], 0, fd, &pos, 512, 0));
	printf("position %ld\n", (long)pos);
	close(p[0]), close(p[1]), pipe(p);
	write(p[1], memory, 4096);
	pos = size;
	show("splice in past the end", splice(p[0], 0, fd, &pos, 512, 0));
	close(p[0]), close(p[1]), pipe(p);
	write(p[1], memory, 4096);
	pos = size - 512;
	show("splice in over the end", splice(p[0], 0, fd, &pos, 1024, 0));
	close(p[0]), close(p[1]), pipe(p);
	write(p[1], memory, 4096);
	show("splice in, nonblocking", splice(p[0], 0, fd, 0, 512, SPLICE_F_NONBLOCK));
	close(p[0]), close(p[1]), pipe(p);
	show("splice in of an empty pipe, nonblocking", splice(p[0], 0, fd, 0, 512, SPLICE_F_NONBLOCK));
	int reader = at(O_RDONLY | direct), writer = at(O_WRONLY | direct), appender = at(O_WRONLY | O_APPEND | direct);
	write(p[1], memory, 4096);
	show("splice into a reader", splice(p[0], 0, reader, 0, 512, 0));
	show("splice into an appender", splice(p[0], 0, appender, 0, 512, 0));
	show("splice from a writer", splice(writer, 0, p[1], 0, 512, 0));
	show("tee", tee(fd, p[1], 512, 0));
	show("tee to", tee(p[0], fd, 512, 0));
	struct iovec v = {memory, 512};
	show("vmsplice", vmsplice(fd, &v, 1, 0));
	show("vmsplice from a reader", vmsplice(reader, &v, 1, 0));
	close(p[0]), close(p[1]), pipe(p);
	/* sendfile */
	lseek(fd, 0, SEEK_SET);
	lseek(file, 0, SEEK_SET);
	show_at("sendfile to a file", fd, sendfile(file, fd, 0, 4096));
	show_at("sendfile of 100", fd, sendfile(file, fd, 0, 100));
	lseek(fd, 0, SEEK_SET);
	lseek(file, 0, SEEK_SET);
	pos = 512;
	show_at("sendfile with a position", fd, sendfile(file, fd, &pos, 4096));
	printf("position %ld\n", (long)pos);
	pos = 100;
	show_at("sendfile with an odd position", fd, sendfile(file, fd, &pos, 4096));
	printf("position %ld\n", (long)pos);
	pos = size - 4096;
	show("sendfile to the end", sendfile(file, fd, &pos, 65536));
	pos = size;
	show("sendfile past the end", sendfile(file, fd, &pos, 65536));
	pos = -1;
	show("sendfile at -1", sendfile(file, fd, &pos, 65536));
	memset(memory, 'f', 65536);
	pwrite(file, memory, 16384, 0);
	lseek(file, 0, SEEK_SET);
	lseek(fd, 0, SEEK_SET);
	show_at("sendfile from a file", fd, sendfile(fd, file, 0, 8192));
	shows("sendfile", 0);
	show_at("sendfile from a file, 100", fd, sendfile(fd, file, 0, 100));
	printf("file at %ld\n", position(file));
	lseek(fd, 0, SEEK_SET);
	show_at("sendfile from device to device", fd, sendfile(second, fd, 0, 4096));
	show("sendfile to an appender", sendfile(appender, file, 0, 512));
	show("sendfile to a reader", sendfile(reader, file, 0, 512));
	show("sendfile from a writer", sendfile(file, writer, 0, 512));
	lseek(fd, 0, SEEK_SET);
	show_at("sendfile to a pipe", fd, sendfile(p[1], fd, 0, 4096));
	show("drain", read(p[0], memory, 65536));
	show("sendfile from a pipe", sendfile(fd, p[0], 0, 512));
	show("sendfile of no bytes", sendfile(file, fd, 0, 0));
	lseek(fd, size - 512, SEEK_SET);
	lseek(file, 0, SEEK_SET);
	show_at("sendfile over the end", fd, sendfile(fd, file, 0, 4096));
	printf("file at %ld\n", position(file));
	show_at("sendfile at the end", fd, sendfile(fd, file, 0, 4096));
	/* copy_file_range */
	pos = other = 0;
	show("copy_file_range device to file", copy_file_range(fd, &pos, file, &other, 4096, 0));
	show("copy_file_range file to device", copy_file_range(file, &pos, fd, &other, 4096, 0));
	show("copy_file_range device to device", copy_file_range(fd, &pos, second, &other, 4096, 0));
	show("copy_file_range with flags", copy_file_range(fd, &pos, file, &other, 4096, 1));
	show("copy_file_range to nothing", copy_file_range(fd, &pos, -1, &other, 4096, 0));
	show("copy_file_range from nothing", copy_file_range(-1, &pos, fd, &other, 4096, 0));
	show("copy_file_range of no bytes", copy_file_range(fd, &pos, file, &other, 0, 0));
	show("copy_file_range from a writer", copy_file_range(writer, &pos, file, &other, 4096, 0));
	show("copy_file_range to a pipe", copy_file_range(fd, 0, p[1], 0, 4096, 0));
	close(reader), close(writer), close(appender), close(second), close(fd), close(file);
	close(p[0]), close(p[1]), close(q[0]), close(q[1]);
	unlink("calls.tmp");
}

static void advice(int direct) {
	printf("== advice %s\n", direct ? "direct" : "buffered");
	int fd = at(O_RDWR | direct), reader = at(O_RDONLY | direct), writer = at(O_WRONLY | direct);
	show("readahead", readahead(fd, 0, 65536));
	show("readahead of none", readahead(fd, 0, 0));
	show("readahead past the end", readahead(fd, size + 4096, 65536));
	show("readahead at -1", readahead(fd, -1, 65536));
	show("readahead of a writer", readahead(writer, 0, 65536));
	for (int i = -1; i < 8; i++) {
		char what[64];
		sprintf(what, "advice %d", i);
		show(what, posix_fadvise(fd, 0, 4096, i));
	}
	show("advice, length -1", posix_fadvise(fd, 0, -1, 0));
	show("advice, offset -1", posix_fadvise(fd, -1, 0, 3));
	show("advice of a writer", posix_fadvise(writer, 0, 0, 3));
	show("sync_file_range", sync_file_range(fd, 0, 4096, 7));
	show("sync_file_range of none", sync_file_range(fd, 0, 0, 0));
	show("sync_file_range flags", sync_file_range(fd, 0, 0, 8));
	show("sync_file_range offset", sync_file_range(fd, -1, 0, 7));
	show("sync_file_range length", sync_file_range(fd, 0, -1, 7));
	show("sync_file_range of a reader", sync_file_range(reader, 0, 0, 7));
	show("fsync of a reader", fsync(reader));
	show("fdatasync", fdatasync(fd));
	show("syncfs", syncfs(fd));
	show("ftruncate", ftruncate(fd, 4096));
	show("ftruncate -1", ftruncate(fd, -1));
	show("ftruncate of a reader", ftruncate(reader, 0));
	show("truncate", truncate(name, 4096));
	show("truncate -1", truncate(name, -1));
	close(fd), close(reader), close(writer);
}

static void places(void) {
	printf("== places\n");
	wipe();
	int fd = at(O_RDWR), reader = at(O_RDONLY);
	char what[64];
	for (int whence = -1; whence < 7; whence++) {
		sprintf(what, "lseek 0 %d", whence);
		show(what, lseek(fd, 0, whence));
		sprintf(what, "lseek 4096 %d", whence);
		show(what, lseek(fd, 4096, whence));
	}
	show("lseek to the end", lseek(fd, size, SEEK_SET));
	show("lseek past the end", lseek(fd, size + 1, SEEK_SET));
	show("lseek before the start", lseek(fd, -1, SEEK_SET));
	show("lseek data past the end", lseek(fd, size + 1, SEEK_DATA));
	static const struct { long start, len; } ranges[] = {
		{0, 4096}, {512, 512}, {100, 4096}, {0, 100}, {0, 0}, {-1, 512}, {0, -1}, {INT64_MAX - 511, 512},
	};
	for (int mode = 0; mode < 0x100; mode = mode < 0x14 ? mode + 1 : mode < 0x20 ? 0x20 : mode * 2) {
		sprintf(what, "fallocate %x", mode);
		show(what, fallocate(fd, mode, 0, 4096));
		sprintf(what, "fallocate %x of a reader", mode);
		show(what, fallocate(reader, mode, 0, 4096));
	}
	show("fallocate 21", fallocate(fd, 0x21, 0, 4096));
	show("fallocate 41", fallocate(fd, 0x41, 0, 4096));
	show("fallocate 83", fallocate(fd, 0x83, 0, 4096));
	static const int modes[] = {0x10, 0x11, 0x03};
	for (int m = 0; m < 3; m++) {
		for (int i = 0; i < 8; i++) {
			sprintf(what, "fallocate %x %ld+%ld", modes[m], ranges[i].start, ranges[i].len);
			show(what, fallocate(fd, modes[m], ranges[i].start, ranges[i].len));
		}
		sprintf(what, "fallocate %x at the end", modes[m]);
		show(what, fallocate(fd, modes[m], size, 4096));
		sprintf(what, "fallocate %x over the end", modes[m]);
		show(what, fallocate(fd, modes[m], size - 4096, 8192));
		sprintf(what, "fallocate %x oddly over the end", modes[m]);
		show(what, fallocate(fd, modes[m], size - 4096, 4097));
	}
	show("posix_fallocate", posix_fallocate(fd, 0, 4096));
	close(fd), close(reader);
}

static void flags(void) {
	printf("== flags\n");
	static const int ways[] = {O_RDONLY, O_WRONLY, O_RDWR, 3, O_RDWR | O_NONBLOCK, O_RDWR | O_SYNC, O_RDWR | O_DSYNC, O_RDWR | O_DIRECT,
		O_RDWR | O_NOATIME, O_RDWR | O_EXCL, O_RDWR | O_TRUNC, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_NOCTTY,
		O_RDONLY | O_DIRECTORY, O_RDWR | O_TMPFILE, O_PATH, O_RDWR | O_ASYNC, O_RDWR | O_CLOEXEC, -1};
	char what[64];
	for (int i = 0; ways[i] >= 0; i++) {
		int fd = open(name, ways[i], 0600);
		sprintf(what, "open %x", ways[i]);
		if (fd < 0) {
			show(what, fd);
			continue;
		}
		printf("%s: flags %x %x\n", what, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
		sprintf(what, "read %x", ways[i]);
		show(what, read(fd, memory, 512));
		sprintf(what, "write %x", ways[i]);
		show(what, write(fd, memory, 0));
		sprintf(what, "seek %x", ways[i]);
		show(what, lseek(fd, 512, SEEK_SET));
		sprintf(what, "size %x", ways[i]);
		show(what, ioctl(fd, BLKGETSIZE64, memory));
		sprintf(what, "fsync %x", ways[i]);
		show(what, fsync(fd));
		close(fd);
	}
	int fd = at(O_RDWR);
	static const int settable[] = {O_APPEND, O_DIRECT, O_NONBLOCK, O_NOATIME, O_ASYNC, O_SYNC, O_DSYNC, O_WRONLY, O_CREAT, 0, -1};
	for (int i = 0; settable[i] >= 0; i++) {
		sprintf(what, "F_SETFL %x", settable[i]);
		show(what, fcntl(fd, F_SETFL, settable[i]));
		printf("F_GETFL %x\n", fcntl(fd, F_GETFL));
	}
	fcntl(fd, F_SETFL, O_DIRECT);
	show("direct by F_SETFL", pread(fd, memory + 1, 512, 0));
	fcntl(fd, F_SETFL, 0);
	show("and no more", pread(fd, memory + 1, 512, 0));
	int copy = dup(fd);
	lseek(fd, 4096, SEEK_SET);
	printf("a copy is at %ld\n", position(copy));
	close(copy);
	copy = fcntl(fd, F_DUPFD, 100);
	printf("F_DUPFD %d %x\n", copy, fcntl(copy, F_GETFD));
	close(copy);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	printf("F_DUPFD_CLOEXEC %d %x\n", copy, fcntl(copy, F_GETFD));
	close(copy);
	show("F_GETPIPE_SZ", fcntl(fd, F_GETPIPE_SZ));
	show("F_SETPIPE_SZ", fcntl(fd, F_SETPIPE_SZ, 4096));
	show("F_GETOWN", fcntl(fd, F_GETOWN));
	show("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
	show("F_GETOWN", fcntl(fd, F_GETOWN) == getpid());
	show("F_GETSIG", fcntl(fd, F_GETSIG));
	show("F_GETLEASE", fcntl(fd, F_GETLEASE));
	show("F_SETLEASE", fcntl(fd, F_SETLEASE, F_WRLCK));
	show("F_NOTIFY", fcntl(fd, F_NOTIFY, 1));
	show("F_GET_SEALS", fcntl(fd, F_GET_SEALS));
	show("F_ADD_SEALS", fcntl(fd, F_ADD_SEALS, 1));
	uint64_t hint = 5;
	show("F_GET_RW_HINT", fcntl(fd, F_GET_RW_HINT, &hint));
	printf("hint %lu\n", hint);
	hint = 2;
	show("F_SET_RW_HINT", fcntl(fd, F_SET_RW_HINT, &hint));
	hint = 99;
	show("F_SET_RW_HINT 99", fcntl(fd, F_SET_RW_HINT, &hint));
	hint = 0;
	show("F_GET_RW_HINT", fcntl(fd, F_GET_RW_HINT, &hint));
	printf("hint %lu\n", hint);
	show("F_GET_FILE_RW_HINT", fcntl(fd, F_GET_FILE_RW_HINT, &hint));
	show("fcntl 77", fcntl(fd, 77, 0));
	close(fd);
}

static void names(void) {
	printf("== names\n");
	static const char *given[] = {"/dev/ram5", "/dev/../dev//ram5", "/dev/./mapper/../ram5", "calls.link", 0};
	symlink("/dev/ram5", "calls.link");
	char path[64], target[256];
	for (int i = 0; given[i]; i++) {
		int fd = open(given[i], O_RDONLY);
		sprintf(path, "/proc/self/fd/%d", fd);
		long len = readlink(path, target, 255);
		target[len > 0 ? len : 0] = 0;
		printf("%s: %s\n", given[i], target);
		sprintf(path, "/proc/%d/fd/%d", getpid(), fd);
		len = readlink(path, target, 255);
		target[len > 0 ? len : 0] = 0;
		printf("%s by number: %s\n", given[i], target);
		struct stat stat;
		show("stat", fstat(fd, &stat));
		printf("%o %lx\n", stat.st_mode & S_IFMT, (long)stat.st_rdev);
		lseek(fd, 512, SEEK_SET);
		sprintf(path, "/proc/self/fd/%d", fd);
		int again = open(path, O_RDWR);
		printf("opened again: flags %x at %ld\n", fcntl(again, F_GETFL), position(again));
		close(again);
		again = openat(AT_FDCWD, path, O_PATH | O_NOFOLLOW);
		show("the link itself", again >= 0 ? 0 : -1);
		close(again);
		close(fd);
	}
	unlink("calls.link");
}

int main(int argc, char **argv) {
	setvbuf(stdout, 0, _IONBF, 0);
	name = argv[1];
	memory = aligned_alloc(4096, 1 << 20);
	int fd = at(O_RDONLY);
	size = lseek(fd, 0, SEEK_END);
	close(fd);
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "append")) append(0), append(O_DIRECT);
		if (!strcmp(argv[i], "vectors")) vectors(0), vectors(O_DIRECT);
		if (!strcmp(argv[i], "pipes")) pipes(0), pipes(O_DIRECT);
		if (!strcmp(argv[i], "advice")) advice(0), advice(O_DIRECT);
		if (!strcmp(argv[i], "places")) places();
		if (!strcmp(argv[i], "flags")) flags();
		if (!strcmp(argv[i], "names")) names();
	}
	return 0;
}
