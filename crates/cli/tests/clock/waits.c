/* Waits with a limit: what each returns, and the second at which it does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>

#include "seconds.h"

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t s;
static int is_told;

static void *tell(void *seconds)
{
    sleep((long)seconds);
    pthread_mutex_lock(&m);
    is_told = 1;
    pthread_cond_signal(&c);
    pthread_mutex_unlock(&m);
    return NULL;
}

static void *post(void *seconds)
{
    sleep((long)seconds);
    sem_post(&s);
    return NULL;
}

static void unlock(void *mutex)
{
    puts("cleans up");
    pthread_mutex_unlock(mutex);
}

static void *long_wait(void *unused)
{
    struct timespec t = in(CLOCK_REALTIME, 5000);
    pthread_mutex_lock(&held);
    pthread_cleanup_push(unlock, &held);
    pthread_cond_timedwait(&c, &held, &t);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *long_sleep(void *unused)
{
    sleep(5000);
    return NULL;
}

static void *long_poll(void *unused)
{
    poll(NULL, 0, 5000000);
    return NULL;
}

/* Waits for what never comes, and forgives wakes without a reason. */
static void *one_of_many(void *seconds)
{
    struct timespec t = in(CLOCK_REALTIME, (long)seconds);
    int r = 0;
    pthread_mutex_lock(&m);
    while (r == 0)
        r = pthread_cond_timedwait(&c, &m, &t);
    pthread_mutex_unlock(&m);
    return (void *)(long)(r != ETIMEDOUT);
}

static void conditions(void)
{
    struct timespec t;
    pthread_t thread, many[20];
    pthread_condattr_t attributes;
    pthread_cond_t monotonic;
    cnd_t cnd;
    mtx_t mtx;
    int r;

    pthread_mutex_lock(&m);
    t = in(CLOCK_REALTIME, 10);
    result("condition", pthread_cond_timedwait(&c, &m, &t));
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&monotonic, &attributes);
    t = in(CLOCK_MONOTONIC, 5);
    result("condition of the monotonic clock", pthread_cond_timedwait(&monotonic, &m, &t));
    t = in(CLOCK_MONOTONIC, 5);
    result("condition by a clock", pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC, &t));
    t = in(CLOCK_MONOTONIC, -5);
    result("condition in the past", pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC, &t));
    t.tv_nsec = 1000000000;
    result("no time", pthread_cond_timedwait(&c, &m, &t));
    pthread_create(&thread, NULL, tell, (void *)3);
    t = in(CLOCK_REALTIME, 10);
    r = 0;
    while (!is_told && r == 0)
        r = pthread_cond_timedwait(&c, &m, &t);
    result("told in time", r);
    pthread_mutex_unlock(&m);
    pthread_join(thread, NULL);

    mtx_init(&mtx, mtx_timed);
    cnd_init(&cnd);
    mtx_lock(&mtx);
    t = in(CLOCK_REALTIME, 4);
    printf("%d ", cnd_timedwait(&cnd, &mtx, &t) == thrd_timedout);
    at("C11 condition");

    for (long i = 0; i < 20; i++)
        pthread_create(&many[i], NULL, one_of_many, (void *)(i + 1));
    for (int i = 0; i < 20; i++) {
        void *is_wrong;
        pthread_join(many[i], &is_wrong);
        if (is_wrong)
            puts("another end");
        if (i % 5 == 0)
            at("one of many");
    }
    pthread_create(&thread, NULL, long_wait, NULL);
    sleep(1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    at("cancelled in a condition");
    pthread_create(&thread, NULL, long_sleep, NULL);
    sleep(1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    at("cancelled in a sleep");
    pthread_create(&thread, NULL, long_poll, NULL);
    sleep(1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    at("cancelled in a poll");
}

static void semaphores(void)
{
    struct timespec t;
    pthread_t thread;
    int value;

    sem_init(&s, 0, 0);
    t = in(CLOCK_REALTIME, 3);
    result("semaphore", sem_timedwait(&s, &t));
    t = in(CLOCK_MONOTONIC, 3);
    result("semaphore by a clock", sem_clockwait(&s, CLOCK_MONOTONIC, &t));
    pthread_create(&thread, NULL, post, (void *)2);
    t = in(CLOCK_REALTIME, 10);
    result("posted in time", sem_timedwait(&s, &t));
    pthread_join(thread, NULL);
    sem_getvalue(&s, &value);
    printf("left: %d\n", value);
    sem_post(&s);
    t = in(CLOCK_REALTIME, -1);
    result("there is one", sem_timedwait(&s, &t));
    result("there is none", sem_timedwait(&s, &t));
}

static void futexes(void)
{
    unsigned word = 3;
    struct timespec t = { 2 * unit, 0 };

    result("futex", syscall(SYS_futex, &word, FUTEX_WAIT, 3, &t, NULL, 0));
    t = in(CLOCK_MONOTONIC, 2);
    result("futex until", syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 3, &t, NULL, ~0));
    t = in(CLOCK_REALTIME, 2);
    result("futex until, real time",
           syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 3, &t, NULL, ~0));
    result("futex of another value", syscall(SYS_futex, &word, FUTEX_WAIT, 4, &t, NULL, 0));
}

static void *take(void *unused)
{
    pthread_mutex_lock(&held);
    pthread_rwlock_wrlock(&lock);
    sleep(12);
    pthread_rwlock_unlock(&lock);
    pthread_mutex_unlock(&held);
    return NULL;
}

static void locks(void)
{
    struct timespec t;
    pthread_t thread;
    struct mq_attr few = { 0, 1, 8 };
    char name[32], message[8];
    sigset_t set;
    mqd_t queue;

    pthread_create(&thread, NULL, take, NULL);
    sleep(1);
    t = in(CLOCK_REALTIME, 3);
    result("mutex", pthread_mutex_timedlock(&held, &t));
    t = in(CLOCK_REALTIME, 3);
    result("reader", pthread_rwlock_timedrdlock(&lock, &t));
    t = in(CLOCK_MONOTONIC, 2);
    result("join", pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &t));
    t = in(CLOCK_REALTIME, 30);
    result("mutex that is let go", pthread_mutex_timedlock(&held, &t));
    pthread_join(thread, NULL);

    snprintf(name, sizeof name, "/dmlab-test-%d", getpid());
    queue = mq_open(name, O_CREAT | O_RDWR, 0600, &few);
    mq_unlink(name);
    t = in(CLOCK_REALTIME, 2);
    result("queue", mq_timedreceive(queue, message, sizeof message, NULL, &t));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    t = (struct timespec){ 2 * unit, 0 };
    result("signal", sigtimedwait(&set, NULL, &t));
}

static void handler(int signal)
{
}

static void descriptors(void)
{
    int p[2], epoll = epoll_create1(0), status;
    struct pollfd fds[2];
    struct epoll_event event = { EPOLLIN };
    struct timespec t;
    struct timeval tv;
    fd_set set;

    pipe(p);
    fds[0] = (struct pollfd){ p[0], POLLIN };
    fds[1] = (struct pollfd){ -1, POLLIN };
    printf("%d %x ", poll(fds, 2, 3000 * unit), fds[0].revents);
    at("poll");
    t = (struct timespec){ 3 * unit, 0 };
    printf("%d ", ppoll(fds, 1, &t, NULL));
    at("ppoll");
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    tv = (struct timeval){ 4 * unit, 0 };
    printf("%d ", select(p[0] + 1, &set, NULL, NULL, &tv));
    printf("%d %ld ", FD_ISSET(p[0], &set), tv.tv_sec);
    at("select");
    FD_SET(p[0], &set);
    t = (struct timespec){ 2 * unit, 0 };
    printf("%d ", pselect(p[0] + 1, &set, NULL, NULL, &t, NULL));
    at("pselect");
    epoll_ctl(epoll, EPOLL_CTL_ADD, p[0], &event);
    printf("%d ", epoll_wait(epoll, &event, 1, 2000 * unit));
    at("epoll");

    for (int i = 0; i < 3; i++) {
        if (!fork()) {
            sleep(3);
            write(p[1], "x", 1);
            _exit(0);
        }
        if (i == 0) {
            printf("%d %x ", poll(fds, 2, 30000 * unit), fds[0].revents);
            at("poll sees it");
        } else if (i == 1) {
            FD_SET(p[0], &set);
            tv = (struct timeval){ 30 * unit, 0 };
            printf("%d ", select(p[0] + 1, &set, NULL, NULL, &tv));
            printf("%d %d ", FD_ISSET(p[0], &set), tv.tv_sec / unit == 26 || tv.tv_sec / unit == 27);
            at("select sees it");
        } else {
            printf("%d ", epoll_wait(epoll, &event, 1, 30000 * unit));
            at("epoll sees it");
        }
        char byte;
        read(p[0], &byte, 1);
        wait(&status);
    }
    signal(SIGUSR1, handler);
    if (!fork()) {
        sleep(2);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    result("interrupted", poll(fds, 1, 20000 * unit));
    wait(&status);
}

static void sleeps(void)
{
    struct timespec t = in(CLOCK_REALTIME, 3), left = { 0, 0 };

    result("until", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
    result("past", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
    if (!fork()) {
        sleep(2);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    t = (struct timespec){ 9 * unit, 0 };
    result("interrupted sleep", clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left));
    printf("left: %.0f\n", (left.tv_sec + left.tv_nsec / 1e9) / unit);
    wait(NULL);
}

int main(void)
{
    time_t began = time(NULL);
    begin();
    conditions();
    semaphores();
    futexes();
    locks();
    descriptors();
    sleeps();
    if (!fork()) {
        struct timespec t = in(CLOCK_REALTIME, 4);
        pthread_mutex_lock(&m);
        result("condition after a fork", pthread_cond_timedwait(&c, &m, &t));
        _exit(0);
    }
    while (wait(NULL) > 0)
        ;
    at("end");
    double apart = difftime(time(NULL), began) - (now() - start);
    printf("both clocks: %s\n", apart > -30 * unit && apart < 30 * unit ? "together" : "apart");
    return 0;
}
