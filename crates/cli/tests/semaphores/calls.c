// What System V semaphores answer. Run on a Linux and in a machine it must print the same: nothing here depends on what
// other programs have made, and it removes what it makes.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };

static const char *name(int error) { return error ? strerrorname_np(error) : "0"; }
#define SAY(call) do { errno = 0; long r = (call); int e = errno; printf("%s: %s%s\n", #call, r < 0 ? "-1 " : "ok", r < 0 ? name(e) : ""); fflush(stdout); } while (0)
#define NUMBER(call) do { errno = 0; long r = (call); int e = errno; printf("%s: %ld %s\n", #call, r, name(e)); fflush(stdout); } while (0)

static struct sembuf op(int num, int by, int flags) { return (struct sembuf){num, by, flags}; }
static int one(int set, int num, int by, int flags) { struct sembuf o = op(num, by, flags); return semop(set, &o, 1); }
static int timed(int set, int num, int by, long sec, long nsec) {
    struct sembuf o = op(num, by, 0);
    struct timespec t = {sec, nsec};
    return semtimedop(set, &o, 1, &t);
}
static int ctl(int set, int num, int cmd, int val) { union semun u = {.val = val}; return semctl(set, num, cmd, u); }
static int has_waiter(int set, int num, int cmd) {
    for (int i = 0; i < 5000 && ctl(set, num, cmd, 0) < 1; i++) usleep(1000);
    return ctl(set, num, cmd, 0);
}
static void caught(int signal) { (void)signal; }
static void on_alarm(int flags) {
    struct sigaction a = {.sa_handler = caught, .sa_flags = flags};
    sigaction(SIGALRM, &a, NULL);
}
static int ended(pid_t pid) { int status; waitpid(pid, &status, 0); return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

static void making(key_t key) {
    puts("== making");
    SAY(semget(key, 1, 0));
    SAY(semget(key, 0, IPC_CREAT | 0600));
    SAY(semget(key, -1, IPC_CREAT | 0600));
    SAY(semget(key, 32001, IPC_CREAT | 0600));
    int set = semget(key, 3, IPC_CREAT | IPC_EXCL | 0640);
    SAY(set);
    SAY(semget(key, 3, IPC_CREAT | IPC_EXCL | 0600));
    SAY(semget(key, 4, IPC_CREAT));
    SAY(semget(key, -1, 0));
    NUMBER(semget(key, 0, 0) == set);
    NUMBER(semget(key, 2, IPC_CREAT) == set);
    NUMBER(semget(key, 2, IPC_EXCL) == set);
    int own = semget(IPC_PRIVATE, 1, 0600), other = semget(IPC_PRIVATE, 1, 0600);
    NUMBER(own != other && own != set);
    SAY(semctl(own, 0, IPC_RMID));
    SAY(semctl(other, 77, IPC_RMID));
    SAY(semctl(other, 0, IPC_RMID));
    SAY(semctl(set, 0, IPC_RMID));
    SAY(semget(key, 3, 0));
    SAY(semctl(set, 0, GETVAL));
    SAY(one(set, 0, 1, 0));
    SAY(semctl(-1, 0, GETVAL));
    SAY(semctl(-1, 0, IPC_INFO));
    // Another one in the same place.
    int before = semget(IPC_PRIVATE, 1, 0600), now = -1;
    semctl(before, 0, IPC_RMID);
    for (int i = 0; i < 40000 && (now & 0x7fff) != (before & 0x7fff); i++) {
        semctl(now, 0, IPC_RMID);
        now = semget(IPC_PRIVATE, 1, 0600);
    }
    NUMBER(now != before && (now & 0x7fff) == (before & 0x7fff));
    SAY(semctl(before, 0, GETVAL));
    SAY(one(before, 0, 1, 0));
    SAY(semctl(before, 0, IPC_RMID));
    SAY(semctl(now, 0, IPC_RMID));
}

static void values(int set) {
    puts("== values");
    union semun u;
    unsigned short all[3] = {1, 2, 3};
    u.array = all;
    SAY(semctl(set, 0, SETALL, u));
    NUMBER(semctl(set, 0, GETVAL));
    NUMBER(semctl(set, 2, GETVAL));
    SAY(semctl(set, 3, GETVAL));
    SAY(semctl(set, -1, GETVAL));
    SAY(ctl(set, 1, SETVAL, 32767));
    NUMBER(semctl(set, 1, GETVAL));
    SAY(ctl(set, 1, SETVAL, 32768));
    SAY(ctl(set, 1, SETVAL, -1));
    SAY(ctl(set, 7, SETVAL, 1));
    SAY(ctl(set, 7, SETVAL, -1));
    all[1] = 40000;
    SAY(semctl(set, 0, SETALL, u));
    SAY(semctl(set, 99, GETALL, u));
    printf("%d %d %d\n", all[0], all[1], all[2]);
    u.array = (void *)8;
    SAY(semctl(set, 0, GETALL, u));
    SAY(semctl(set, 0, SETALL, u));
    u.buf = (void *)8;
    SAY(semctl(set, 0, IPC_STAT, u));
    SAY(semctl(set, 0, IPC_SET, u));
    SAY(semctl(set, 0, 77, u));
    SAY(semctl(set, 0, 16, u));
    NUMBER(semctl(set, 0, GETPID) == getpid());
    NUMBER(semctl(set, 1, GETNCNT));
    NUMBER(semctl(set, 1, GETZCNT));
    SAY(semctl(set, 9, GETNCNT));
    NUMBER(syscall(SYS_semctl, set, 2, GETVAL, 0));
}

static void operations(int set) {
    puts("== operations");
    struct sembuf many[501];
    for (int i = 0; i < 501; i++) many[i] = op(0, 0, IPC_NOWAIT);
    SAY(ctl(set, 0, SETVAL, 0));
    SAY(semop(set, many, 0));
    SAY(semop(set, many, 501));
    SAY(semop(set, many, 500));
    SAY(semop(-1, many, 1));
    SAY(semop(-1, many, 501));
    SAY(semop(set, (void *)8, 1));
    SAY(one(set, 3, 1, 0));
    SAY(one(set, 65535, 1, 0));
    SAY(one(set, 0, -1, IPC_NOWAIT));
    SAY(one(set, 0, 1, 0));
    SAY(one(set, 0, 0, IPC_NOWAIT));
    NUMBER(semctl(set, 0, GETVAL));
    SAY(one(set, 0, 32766, 0));
    SAY(one(set, 0, 1, 0));
    SAY(one(set, 0, -32767, IPC_NOWAIT));
    // All or nothing, and each sees the one before.
    struct sembuf mixed[3] = {op(0, 2, 0), op(1, -5, IPC_NOWAIT), op(0, -2, 0)};
    SAY(ctl(set, 1, SETVAL, 4));
    SAY(semop(set, mixed, 3));
    NUMBER(semctl(set, 0, GETVAL));
    mixed[1].sem_op = -4;
    SAY(semop(set, mixed, 3));
    NUMBER(semctl(set, 0, GETVAL));
    NUMBER(semctl(set, 1, GETVAL));
    struct sembuf beyond[2] = {op(0, 1, 0), op(5, 1, 0)};
    SAY(semop(set, beyond, 2));
    NUMBER(semctl(set, 0, GETVAL));
    struct sembuf raised = op(0, 3, 0);
    NUMBER(syscall(SYS_semtimedop, set, &raised, 1, NULL));
    NUMBER(syscall(SYS_semctl, set, 0, GETVAL, 0));
#ifdef SYS_semop
    NUMBER(syscall(SYS_semop, set, &raised, 1));
#endif
}

static void limits(int set) {
    puts("== limits");
    SAY(ctl(set, 0, SETVAL, 0));
    struct sembuf o = op(0, -1, 0);
    struct timespec wrong = {0, 1000000000}, negative = {-1, 0};
    SAY(semtimedop(set, &o, 1, &wrong));
    SAY(semtimedop(set, &o, 1, &negative));
    SAY(semtimedop(set, &o, 1, (void *)8));
    SAY(timed(set, 0, -1, 0, 0));
    SAY(timed(set, 0, -1, 0, 20000000));
    SAY(timed(set, 0, 1, 0, 20000000));
    SAY(timed(set, 0, 0, 0, 20000000));
    SAY(timed(set, 0, -1, 5, 0));
    NUMBER(semctl(set, 0, GETNCNT));
}

static void waits(int set) {
    puts("== waits");
    SAY(ctl(set, 0, SETVAL, 0));
    SAY(ctl(set, 1, SETVAL, 1));
    pid_t first = fork();
    if (!first) _exit(one(set, 0, -1, 0) ? errno : 0);
    NUMBER(has_waiter(set, 0, GETNCNT));
    pid_t second = fork();
    if (!second) _exit(one(set, 1, 0, 0) ? errno : 0);
    NUMBER(has_waiter(set, 1, GETZCNT));
    NUMBER(semctl(set, 0, GETZCNT));
    SAY(one(set, 0, 1, 0));
    NUMBER(ended(first));
    NUMBER(semctl(set, 0, GETPID) == first);
    NUMBER(semctl(set, 0, GETVAL));
    SAY(ctl(set, 1, SETVAL, 0));
    NUMBER(ended(second));
    // One that is killed waits no more.
    first = fork();
    if (!first) _exit(one(set, 0, -1, 0) ? errno : 0);
    NUMBER(has_waiter(set, 0, GETNCNT));
    kill(first, SIGKILL);
    NUMBER(ended(first));
    for (int i = 0; i < 5000 && semctl(set, 0, GETNCNT); i++) usleep(1000);
    NUMBER(semctl(set, 0, GETNCNT));
    // In their order, as far as the value goes.
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        if (!pids[i]) _exit(one(set, 0, i == 0 ? -3 : -1, 0) ? errno : 0);
        while (semctl(set, 0, GETNCNT) < i + 1) usleep(1000);
    }
    SAY(one(set, 0, 2, 0));
    NUMBER(ended(pids[1]));
    NUMBER(ended(pids[2]));
    NUMBER(semctl(set, 0, GETNCNT));
    SAY(one(set, 0, 3, 0));
    NUMBER(ended(pids[0]));
    // A signal ends a wait, also where it restarts other calls.
    for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
        on_alarm(flags);
        ualarm(50000, 0);
        SAY(one(set, 0, -1, 0));
        NUMBER(semctl(set, 0, GETNCNT));
    }
    ualarm(50000, 0);
    SAY(timed(set, 0, -1, 100, 0));
    // Two operations, of which one waits.
    first = fork();
    if (!first) {
        struct sembuf both[2] = {op(1, 0, 0), op(0, -2, 0)};
        _exit(semop(set, both, 2) ? errno : 0);
    }
    NUMBER(has_waiter(set, 0, GETNCNT));
    NUMBER(semctl(set, 1, GETZCNT));
    SAY(ctl(set, 1, SETVAL, 1));
    SAY(ctl(set, 0, SETVAL, 2));
    NUMBER(semctl(set, 1, GETZCNT));
    SAY(one(set, 1, -1, 0));
    NUMBER(ended(first));
    NUMBER(semctl(set, 0, GETVAL));
    // The set goes while one waits.
    int going = semget(IPC_PRIVATE, 1, 0600);
    first = fork();
    if (!first) _exit(one(going, 0, -1, 0) ? errno : 0);
    NUMBER(has_waiter(going, 0, GETNCNT));
    SAY(semctl(going, 0, IPC_RMID));
    printf("%s\n", name(ended(first)));
}

static void undoing(int set) {
    puts("== undoing");
    unsigned short zero[3] = {0, 0, 0};
    union semun u = {.array = zero};
    SAY(semctl(set, 0, SETALL, u));
    pid_t child = fork();
    if (!child) {
        one(set, 0, 5, SEM_UNDO);
        one(set, 0, -1, SEM_UNDO);
        one(set, 1, 2, SEM_UNDO);
        ctl(set, 1, SETVAL, 7);
        _exit(semctl(set, 0, GETVAL));
    }
    NUMBER(ended(child));
    NUMBER(semctl(set, 0, GETVAL));
    NUMBER(semctl(set, 1, GETVAL));
    NUMBER(semctl(set, 0, GETPID) == child);
    // A child has none of its parent's, and a program that becomes another one keeps its own.
    SAY(ctl(set, 0, SETVAL, 1));
    child = fork();
    if (!child) {
        one(set, 0, -1, SEM_UNDO);
        pid_t grandchild = fork();
        if (!grandchild) _exit(0);
        ended(grandchild);
        if (semctl(set, 0, GETVAL)) _exit(1);
        execlp("sh", "sh", "-c", "exit 3", NULL);
    }
    NUMBER(ended(child));
    NUMBER(semctl(set, 0, GETVAL));
    // Below zero it does not go, and whoever waits is woken.
    SAY(ctl(set, 0, SETVAL, 0));
    child = fork();
    if (!child) {
        one(set, 0, 3, SEM_UNDO);
        one(set, 0, -2, 0);
        _exit(0);
    }
    NUMBER(ended(child));
    NUMBER(semctl(set, 0, GETVAL));
    SAY(ctl(set, 0, SETVAL, 1));
    int ends[2];
    pipe(ends);
    child = fork();
    if (!child) {
        char end;
        one(set, 0, -1, SEM_UNDO);
        write(ends[1], "", 1);
        pause();
    }
    char taken;
    read(ends[0], &taken, 1);
    pid_t waiter = fork();
    if (!waiter) _exit(one(set, 0, -1, 0) ? errno : 0);
    NUMBER(has_waiter(set, 0, GETNCNT));
    kill(child, SIGKILL);
    NUMBER(ended(child));
    NUMBER(ended(waiter));
    SAY(ctl(set, 2, SETVAL, 0));
    child = fork();
    if (!child) {
        struct sembuf up[2] = {op(2, 32767, SEM_UNDO), op(2, -32767, 0)};
        int wrong = semop(set, up, 2) || semop(set, &up[0], 1) != -1;
        printf("%d %s\n", wrong, name(errno));
        fflush(stdout);
        _exit(0);
    }
    NUMBER(ended(child));
    NUMBER(semctl(set, 2, GETVAL));
}

static void status(int set) {
    puts("== status");
    struct semid_ds ds;
    union semun u = {.buf = &ds};
    time_t now = time(NULL);
#define NEAR(t) ((t) >= now - 100 && (t) <= now + 100)
    SAY(semctl(set, 0, IPC_STAT, u));
    printf("%o %lu %d %d %d\n", ds.sem_perm.mode, ds.sem_nsems, ds.sem_perm.uid == geteuid(), ds.sem_perm.cuid == geteuid(), ds.sem_perm.gid == getegid());
    printf("ctime %d otime %d\n", NEAR(ds.sem_ctime), NEAR(ds.sem_otime));
    ds.sem_perm.mode = 07777;
    SAY(semctl(set, 0, IPC_SET, u));
    SAY(semctl(set, 0, IPC_STAT, u));
    printf("%o\n", ds.sem_perm.mode);
    ds.sem_perm.uid = -1;
    SAY(semctl(set, 0, IPC_SET, u));
    int fresh = semget(IPC_PRIVATE, 2, 0604);
    SAY(semctl(fresh, 0, IPC_STAT, u));
    printf("%o %lu key %d otime %ld ctime %d\n", ds.sem_perm.mode, ds.sem_nsems, ds.sem_perm.__key, (long)ds.sem_otime, NEAR(ds.sem_ctime));
    NUMBER(semctl(fresh, 0, GETPID));
    NUMBER(semctl(fresh, 0, GETVAL));
    SAY(ctl(fresh, 0, SETVAL, 0));
    semctl(fresh, 0, IPC_STAT, u);
    printf("otime %ld\n", (long)ds.sem_otime);
    NUMBER(semctl(fresh, 1, GETPID));
    SAY(one(fresh, 1, 0, 0));
    semctl(fresh, 0, IPC_STAT, u);
    printf("otime %d\n", NEAR(ds.sem_otime));
    NUMBER(semctl(fresh, 1, GETPID) == getpid());
    // By index.
    struct seminfo info;
    union semun i = {.info = &info};
    int highest = semctl(0, 0, SEM_INFO, i);
    printf("sets %d semaphores %d\n", info.semusz >= 2, info.semaem >= 5);
    int found = 0, any = 0, same = 0;
    for (int index = 0; index <= highest; index++) {
        int id = semctl(index, 0, SEM_STAT, u);
        found += id == fresh || id == set;
        same += id == fresh && ds.sem_nsems == 2 && ds.sem_perm.mode == 0604;
        any += semctl(index, 0, SEM_STAT_ANY, u) == fresh;
    }
    printf("found %d %d %d\n", found, same, any);
    SAY(semctl(highest + 1, 0, SEM_STAT, u));
    SAY(semctl(-1, 0, SEM_STAT, u));
    NUMBER(semctl(0, 0, IPC_INFO, i) == highest);
    printf("%d %d %d %d %d %d %d %d %d %d\n", info.semmap, info.semmni, info.semmns, info.semmnu, info.semmsl, info.semopm, info.semume, info.semusz, info.semvmx, info.semaem);
    i.info = (void *)8;
    SAY(semctl(0, 0, IPC_INFO, i));
    SAY(semctl(fresh, 0, IPC_RMID));
}

int main(void) {
    key_t key = 0x5e3a0000 | (getpid() & 0xffff);
    making(key);
    int set = semget(key, 3, IPC_CREAT | 0600);
    values(set);
    operations(set);
    limits(set);
    waits(set);
    undoing(set);
    status(set);
    SAY(semctl(set, 0, IPC_RMID));
}
