/* BLKPG and BLKRRPART: blkpg DEVICE add|del|resize|op|rrpart|fault [NUMBER START LENGTH], in bytes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
int main(int c, char **v) {
	int fd = open(v[1], O_RDWR);
	if (fd < 0) { printf("open %s: %s\n", v[1], strerrorname_np(errno)); return 1; }
	struct blkpg_partition p = {0};
	struct blkpg_ioctl_arg a = {.datalen = sizeof p, .data = &p};
	int r = 0;
	if (!strcmp(v[2], "rrpart")) r = ioctl(fd, BLKRRPART, 0);
	else if (!strcmp(v[2], "fault")) { a.op = 1; a.data = 0; r = ioctl(fd, BLKPG, &a); printf("fault: %s ", r < 0 ? strerrorname_np(errno) : "ok"); r = ioctl(fd, BLKPG, 0); }
	else {
		p.pno = atoi(v[3]);
		if (c > 5) { p.start = atoll(v[4]); p.length = atoll(v[5]); }
		a.op = !strcmp(v[2], "add") ? 1 : !strcmp(v[2], "del") ? 2 : !strcmp(v[2], "resize") ? 3 : atoi(v[3]);
		r = ioctl(fd, BLKPG, &a);
	}
	for (int i = 1; i < c; i++) printf("%s ", v[i]);
	printf(": %s\n", r < 0 ? strerrorname_np(errno) : "ok");
}
