/* /dev/kmsg, call by call. Numbers of records count from the first one written here; times are left out. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char buf[9000];
static int fd;
static long base = -1;

static void result(const char *what, long value) {
    printf("%s: %ld %s\n", what, value, value < 0 ? strerrorname_np(errno) : "");
}

static void show(long len) {
    int priority, at = 0;
    long seq, time;
    buf[len] = 0;
    sscanf(buf, "%d,%ld,%ld,%n", &priority, &seq, &time, &at);
    if (base < 0) base = seq;
    len -= at;
    printf("%d,%ld,T,%.40s%s %ld\n", priority, seq - base, buf + at, len > 40 ? "...\n" : "", len);
}

static void take(int room) {
    long len = read(fd, buf, room);
    if (len < 0) result("read", len); else show(len);
}

static void put(const char *text, int len) {
    result("write", write(fd, text, len));
    usleep(100000);
    take(8192);
}

static void go(long offset, int whence) {
    long at = lseek(fd, offset, whence);
    printf("lseek %ld %d: %ld %s\n", offset, whence, at, at < 0 ? strerrorname_np(errno) : "");
}

static void look(void) {
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM, 0};
    int ready = poll(&entry, 1, 0);
    printf("poll: %d %x\n", ready, entry.revents);
}

int main(void) {
    setbuf(stdout, NULL);
    struct stat stat;
    fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
    fstat(fd, &stat);
    printf("open: %d %o %lx\n", fd >= 0, stat.st_mode, (long)stat.st_rdev);
    go(0, SEEK_END); look(); take(4096);
    result("write", write(fd, "hello\n", 6)); usleep(100000); look(); take(4096); look(); take(4096);
    put("a\nb\n", 4); put("tab\there\1\\x\177 \303\251z", 16); put("<3>three\n", 9); put("<11>user", 8);
    put("<30>daemon", 10); put("<>x", 3); put("<999>big", 8); put("<5x>y", 5); put("<-1>y", 5); put("<0>emerg", 8);
    put("<8>k", 4); put("<2048>k", 7); put("<7>debug", 8); put("", 0); put("\n", 1); put("\n\n", 2); put("z\n\n", 3);
    put("q\0r", 3); put("  lead", 6);
    memset(buf, 'x', 8000);
    char *x = strdup(buf);
    put(x, 992); put(x, 1000); put(x, 1025);
    write(fd, "lost", 4); write(fd, "kept", 4); usleep(100000);
    take(20); take(8192); take(8192);
    go(1, SEEK_SET); go(0, SEEK_CUR); go(0, 4); go(5, SEEK_END); go(-1, SEEK_END); go(5, SEEK_DATA); go(0, 99);
    long first[2];
    for (int i = 0; i < 2; i++) {
        go(0, i ? SEEK_DATA : SEEK_SET);
        long len = read(fd, buf, 8192);
        buf[len > 0 ? len : 0] = 0;
        sscanf(buf, "%*d,%ld", &first[i]);
    }
    printf("first: %d\n", first[0] == first[1]);
    go(0, SEEK_END);
    struct iovec two[2] = {{"io", 2}, {"vec\n", 4}};
    result("writev", writev(fd, two, 2)); usleep(100000); take(4096);
    result("pwrite", pwrite(fd, "pw", 2, 5)); usleep(100000);
    long len = pread(fd, buf, 4096, 3);
    if (len < 0) result("pread", len); else show(len);
    write(fd, "split", 5); usleep(100000);
    struct iovec into[2] = {{buf, 10}, {buf + 10, 4000}};
    len = readv(fd, into, 2);
    if (len < 0) result("readv", len); else show(len);
    result("ioctl", ioctl(fd, 0x541b, &len));
    result("fsync", fsync(fd)); result("ftruncate", ftruncate(fd, 0)); result("fallocate", fallocate(fd, 0, 0, 4096));
    result("mmap", mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    int writer = open("/dev/kmsg", O_WRONLY);
    result("read", read(writer, buf, 10));
    result("lseek", lseek(writer, 0, SEEK_END));
    result("write", write(writer, "w", 1)); usleep(100000); take(4096);
    int reader = open("/dev/kmsg", O_RDONLY);
    result("write", write(reader, "w", 1));
    /* One that has to wait: a record comes while it does. */
    lseek(reader, 0, SEEK_END);
    fflush(stdout);
    if (fork() == 0) { usleep(200000); _exit(write(writer, "late", 4) != 4); }
    fd = reader;
    take(4096);
    wait(NULL);
    return 0;
}
