/* Writes each uevent of the kernel as a line: its variables in their order, with spaces between. Only used to record:
 * on the simulated kernel `dmlab uevents` prints the same. */
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int size = 8 << 20, fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return 1;
    for (;;) {
        char text[16384];
        ssize_t len = recv(fd, text, sizeof text - 1, 0);
        if (len <= 0)
            return 1;
        text[len] = 0;
        /* The first string is the header, ACTION@DEVPATH. */
        for (char *at = text + strlen(text) + 1; at < text + len; at += strlen(at) + 1)
            printf("%s%s", at, at + strlen(at) + 1 < text + len ? " " : "\n");
        fflush(stdout);
    }
}
