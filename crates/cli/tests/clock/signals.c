/* Waits that a signal, a cancellation or a jump ends before their limit, and what a child of a vfork sets. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "seconds.h"

static volatile int got;
static sigjmp_buf out;
static sem_t s;

static void handler(int signal)
{
    got++;
}

static void jump(int signal)
{
    siglongjmp(out, 1);
}

/* In a second comes a signal. */
static void expect(void)
{
    if (!fork()) {
        sleep(1);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
}

static void interrupted(int flags)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
    struct timespec t;
    unsigned word = 3;

    sigaction(SIGUSR1, &action, NULL);
    t = in(CLOCK_REALTIME, 4);
    expect();
    result("semaphore", sem_timedwait(&s, &t));
    wait(NULL);
    t = (struct timespec){ 4 * unit, 0 };
    expect();
    result("futex", syscall(SYS_futex, &word, FUTEX_WAIT, 3, &t, NULL, 0));
    wait(NULL);
    expect();
    result("poll", poll(NULL, 0, 4000 * unit));
    wait(NULL);
    t = (struct timespec){ 4 * unit, 0 };
    expect();
    result("sleep", nanosleep(&t, NULL));
    wait(NULL);
}

static void cleans(void *unused)
{
    puts("cleans up");
}

static void *in_semaphore(void *unused)
{
    struct timespec t = in(CLOCK_REALTIME, 30);
    pthread_cleanup_push(cleans, NULL);
    sem_timedwait(&s, &t);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *in_sleep(void *unused)
{
    sleep(1000);
    return NULL;
}

static void *short_sleep(void *unused)
{
    sleep(2);
    return NULL;
}

/* More of them than there can be at once. */
static void left_behind(void)
{
    pthread_t thread, many[700];

    pthread_create(&thread, NULL, in_semaphore, NULL);
    sleep(1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    at("cancelled in a semaphore");
    for (int i = 0; i < 600; i++) {
        pthread_create(&thread, NULL, in_sleep, NULL);
        usleep(100);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    at("cancelled");
    signal(SIGALRM, jump);
    for (volatile int i = 0; i < 600; i++) {
        struct itimerval it = { { 0, 0 }, { 0, 100 } };
        if (!sigsetjmp(out, 1)) {
            setitimer(ITIMER_REAL, &it, NULL);
            poll(NULL, 0, 1000000 * unit);
        }
    }
    at("jumped out");
    signal(SIGALRM, SIG_DFL);
    sleep(2);
    at("a sleep after that");
    for (int i = 0; i < 700; i++)
        pthread_create(&many[i], NULL, short_sleep, NULL);
    for (int i = 0; i < 700; i++)
        pthread_join(many[i], NULL);
    at("many sleep");
}

static void children_of_vforks(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec it = { { 0, 0 }, { 3 * unit, 0 } };
    timer_t timer;
    pid_t child;
    char seconds[20];
    int status;

    snprintf(seconds, sizeof seconds, "%ld", 50 * unit);
    got = 0;
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &it, NULL);
    child = vfork();
    if (!child) {
        execlp("true", "true", NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    sleep(10);
    printf("%d ", got);
    at("a timer of its parent");
    alarm(1000 * unit);
    child = vfork();
    if (!child) {
        alarm(2 * unit);
        execlp("sleep", "sleep", seconds, NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    printf("%d ", WTERMSIG(status));
    at("an alarm of its own");
    printf("left: %.0f\n", alarm(0) / (double)unit);
}

/* Sets of more descriptors than usual, and seconds as microseconds. */
static void sets(void)
{
    struct rlimit most = { 4096, 4096 };
    struct timeval t = { 1 * unit, 2000000 * unit };
    long *set = calloc(64, sizeof(long));
    int p[2];

    result("microseconds", select(0, NULL, NULL, NULL, &t));
    setrlimit(RLIMIT_NOFILE, &most);
    pipe(p);
    dup2(p[0], 1500);
    set[1500 / 64] = 1l << 1500 % 64;
    t = (struct timeval){ 2 * unit, 0 };
    printf("%d ", select(1501, (fd_set *)set, NULL, NULL, &t));
    at("a high descriptor");
    set[1500 / 64] = 1l << 1500 % 64;
    t = (struct timeval){ 50 * unit, 0 };
    if (!fork()) {
        sleep(3);
        write(p[1], "x", 1);
        _exit(0);
    }
    printf("%d ", select(1501, (fd_set *)set, NULL, NULL, &t));
    printf("%d ", set[1500 / 64] == 1l << 1500 % 64);
    at("is ready");
    wait(NULL);
}

static void clocks(void)
{
    struct timespec t = { 3 * unit, 0 };
    struct sigevent event = { .sigev_notify = SIGEV_NONE };
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    timer_t timer;

    result("sleep, raw", clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &t, NULL));
    result("sleep, coarse", clock_nanosleep(CLOCK_REALTIME_COARSE, 0, &t, NULL));
    result("sleep, since the boot", clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL));
    result("timer, raw", timer_create(CLOCK_MONOTONIC_RAW, &event, &timer));
    result("descriptor, raw", timerfd_create(CLOCK_MONOTONIC_RAW, 0) < 0 ? -1 : 0);
    result("descriptor, atomic", timerfd_create(CLOCK_TAI, 0) < 0 ? -1 : 0);
    pthread_mutex_lock(&m);
    t = in(CLOCK_MONOTONIC_RAW, 3);
    result("condition, raw", pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC_RAW, &t));
    result("semaphore, raw", sem_clockwait(&s, CLOCK_MONOTONIC_RAW, &t));
}

int main(void)
{
    begin();
    sem_init(&s, 0, 0);
    puts("restarts");
    interrupted(SA_RESTART);
    puts("does not");
    interrupted(0);
    children_of_vforks();
    sets();
    clocks();
    left_behind();
    return 0;
}
