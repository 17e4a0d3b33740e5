/* What the programs here share: their seconds, and lines that say at which of them something was. A second is as long as the
   environment says (UNIT), so that what a program itself takes is nothing beside it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double start;
static long unit = 1;

#define sleep(seconds) sleep((seconds) * unit)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* The first second begins. */
static void begin(void)
{
    if (getenv("UNIT"))
        unit = atol(getenv("UNIT"));
    start = now();
}

static void at(const char *what)
{
    printf("%s: %.0f\n", what, (now() - start) / unit);
    fflush(stdout);
}

static void result(const char *what, int ret)
{
    printf("%s ", ret < 0 ? strerror(errno) : ret ? strerror(ret) : "done");
    at(what);
}

static struct timespec in(clockid_t clock, int seconds)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += seconds * unit;
    return t;
}
