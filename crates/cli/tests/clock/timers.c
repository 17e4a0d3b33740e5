/* Alarms, timers and timer descriptors: what each does, and the second at which it does. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "seconds.h"

#define alarm(seconds) ((alarm((seconds) * unit) + unit / 2) / unit)

static int code;
static void *value;

static void handler(int signal, siginfo_t *info, void *context)
{
    code = info->si_code;
    value = info->si_value.sival_ptr;
}

static void alarms(void)
{
    struct itimerval it = { { 2 * unit, 0 }, { 5 * unit, 0 } }, left;

    alarm(10);
    sleep(3);
    printf("left: %u\n", alarm(4));
    pause();
    at("alarm");
    printf("left: %u\n", alarm(0));
    setitimer(ITIMER_REAL, &it, NULL);
    pause();
    at("first");
    pause();
    at("second");
    getitimer(ITIMER_REAL, &left);
    printf("%ld %d\n", left.it_interval.tv_sec / unit, left.it_value.tv_sec / unit == 1 || left.it_value.tv_sec == 2 * unit);
    memset(&it, 0, sizeof it);
    setitimer(ITIMER_REAL, &it, NULL);
    it.it_value.tv_usec = 1000000;
    result("no time", setitimer(ITIMER_REAL, &it, NULL));
    if (!fork()) {
        /* A fork has no alarm, another program keeps its own. */
        printf("left: %u\n", alarm(0));
        fflush(stdout);
        signal(SIGALRM, SIG_DFL);
        alarm(6);
        execlp("sleep", "sleep", "100000", NULL);
    }
    int status;
    wait(&status);
    printf("signal %d ", WTERMSIG(status));
    at("alarm of another program");
    if (!fork()) {
        alarm(3600);
        _exit(0);
    }
    wait(&status);
    sleep(2);
    at("an alarm goes with its process");
}

static void timers(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_ptr = (void *)77 };
    struct itimerspec it = { { 0 * unit, 0 }, { 3 * unit, 0 } };
    timer_t timer;

    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &it, NULL);
    pause();
    printf("%d %ld ", code == SI_TIMER, (long)value);
    at("timer");
    clock_gettime(CLOCK_MONOTONIC, &it.it_value);
    it.it_value.tv_sec += 4 * unit;
    it.it_interval.tv_sec = 2 * unit;
    timer_settime(timer, TIMER_ABSTIME, &it, NULL);
    pause();
    at("at a moment");
    pause();
    at("again");
    timer_gettime(timer, &it);
    printf("%ld\n", it.it_interval.tv_sec / unit);
    result("delete", timer_delete(timer));
    result("is gone", timer_gettime(timer, &it));
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = syscall(SYS_gettid);
    timer_create(CLOCK_REALTIME, &event, &timer);
    it = (struct itimerspec){ { 0 * unit, 0 }, { 3 * unit, 0 } };
    timer_settime(timer, 0, &it, NULL);
    pause();
    at("timer of a thread");
    event.sigev_notify = SIGEV_NONE;
    timer_create(CLOCK_REALTIME, &event, &timer);
    it.it_value.tv_sec = 8 * unit;
    timer_settime(timer, 0, &it, NULL);
    sleep(3);
    timer_gettime(timer, &it);
    printf("left: %.0f\n", (it.it_value.tv_sec + it.it_value.tv_nsec / 1e9) / unit);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 1000;
    result("no signal", timer_create(CLOCK_REALTIME, &event, &timer));
}

static void descriptors(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), other, epoll = epoll_create1(0), p[2];
    struct itimerspec it = { { 3 * unit, 0 }, { 5 * unit, 0 } }, none = { { 0, 0 }, { 0, 0 } };
    struct epoll_event event = { EPOLLIN };
    struct pollfd poller = { fd, POLLIN };
    uint64_t times;

    timerfd_settime(fd, 0, &it, NULL);
    read(fd, &times, sizeof times);
    printf("%lu ", times);
    at("descriptor");
    sleep(10);
    read(fd, &times, sizeof times);
    printf("%lu ", times);
    at("three times");
    printf("%d ", poll(&poller, 1, 1000 * unit));
    at("too early");
    printf("%d ", poll(&poller, 1, 9000 * unit));
    at("in time");
    timerfd_gettime(fd, &it);
    printf("%ld\n", it.it_interval.tv_sec / unit);
    timerfd_settime(fd, 0, &none, NULL);
    printf("%d ", poll(&poller, 1, 4000 * unit));
    at("never");
    other = dup(fd);
    it = (struct itimerspec){ { 0 * unit, 0 }, { 2 * unit, 0 } };
    timerfd_settime(other, 0, &it, NULL);
    close(other);
    read(fd, &times, sizeof times);
    at("by a copy");
    close(fd);
    fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    result("nothing to read", read(fd, &times, sizeof times));
    clock_gettime(CLOCK_REALTIME, &it.it_value);
    it.it_value.tv_sec += 5 * unit;
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    printf("%d ", epoll_wait(epoll, &event, 1, -1));
    at("epoll");
    pipe(p);
    result("a pipe is no timer", timerfd_settime(p[0], 0, &it, NULL));
    result("nor is this", timerfd_settime(99, 0, &it, NULL));
    it.it_value.tv_nsec = -1;
    result("no time", timerfd_settime(fd, 0, &it, NULL));
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

    begin();
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    alarms();
    timers();
    descriptors();
    return 0;
}
