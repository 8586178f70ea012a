/* What answering.c and answering.py share, and what the others are written with: see answering.c. */

#include <linux/futex.h>
#include <linux/ioctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/time_types.h>
#include <asm/unistd.h>

#ifndef RESOLVE_CACHED /* Linux 5.12 */
#define RESOLVE_CACHED 0x20
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* Linux 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

typedef unsigned long word;
enum { PROCESSORS = 1024 }; /* sched_setaffinity(2): a set of so many is enough for every kernel of a distribution */

/* Where a thread was when it was answered last, and when. */
struct whereabouts {
    int tid, processor;
    long time;
};

/* An open /proc/TID/stat of a thread. */
struct stat_file {
    int tid, file;
};

/* What the threads that answer have in common. */
struct company {
    int lock;      /* of the end of the ring: 1 while somebody reserves */
    int last;      /* the thread whose call came last, to whomever */
    int mix;       /* how often that is not the one before it: MIXED if it always is */
    int is_two;    /* the second thread is wanted; a futex */
    int can_be;    /* there is one */
    int is_off;    /* every call is for Python */
    int is_careful; /* nobody may be waited for: only what the kernel knows is looked at */
    int size;      /* bytes of a set of processors */
    int was_asked; /* for the second thread, which is done once: where there can be none, each call would be Python's */
    unsigned char both[PROCESSORS / 8], of[2][PROCESSORS / 8]; /* sets of them: all, and each thread's */
};

/* In the order of answering.py: `_FIELDS`. */
struct context {
    long listener, ended, bell;   /* descriptors; `ended` is an epoll that is readable when a process has ended */
    long polls;                   /* the kernel's RECV does not end with the last process: ask poll(2) first */
    long sync;                    /* the listener wakes synchronously */
    long at_once;                 /* ns that RECV takes at most for a call that waits already */
    long window;                  /* ns between two looks at `ended` */
    struct seccomp_notif *request;
    word request_size;
    struct seccomp_notif_resp *response;
    word *words;                  /* of the ring, and its data */
    unsigned char *data;
    word data_size;
    int (*clock)(int, struct __kernel_timespec *);
    int (*processor)(void);
    word arch;                    /* AUDIT_ARCH of the calls that `plans` is for */
    unsigned char *plans;         /* by a call's number up to PLANS: how it is done here, 0 if it is not */
    unsigned *known;              /* processes: KNOWN slots, each with the number of one or 0 */
    /* What Python reads and writes too. */
    long before, now;             /* ns since the Unix epoch: around the last RECV */
    long look_at;
    long last;                    /* the thread whose call came last */
    long here;                    /* the processor of this process when it answered last */
    struct whereabouts *whereabouts; /* of threads: KNOWN slots. Both write it; what is mixed up there is a bad guess. */
    struct stat_file *stat_files;    /* of those that were asked about last: STAT_FILES slots */
    long missed;                  /* what was looked for last was not there, as the next of a search may not be */
    struct company *company;
    long place;                   /* which of the threads this is: 0 or 1 */
    long pinned;                  /* it keeps to its own processor */
};

/* What `answer` returns. */
enum { RECEIVED, FAILED, DESERTED, LOOK_AROUND, WANTED };

/* Plans. The path is in the first register, or, with AT, in the second one, behind a directory's descriptor. Of OPENS
 * the flags are in the next register, and it is told whether the path is there. EXECUTES is done here only where the
 * path is not there: of a search along PATH nothing is told. */
enum { PATH_FIRST = 1, AT = 2, OPENS = 4, EXECUTES = 8 };

/* Words of the ring. */
enum { WRITTEN, READ, LOST, ASLEEP, CLOSED };

enum {
    PLANS = 512, KNOWN = 4096, STAT_FILES = 8, PAGE = 4096, CHUNK = 256, PATH = 4096,
    EXISTS = 1, ABSENT = 2, ALIGN = 8, NO_ENTRY = 2, NOT_A_DIRECTORY = 20,
    AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, O_CREAT = 0100, O_EXCL = 0200, O_NOFOLLOW = 0400000,
    O_CLOEXEC = 02000000, O_PATH = 010000000,
    POLLIN = 1, POLLHUP = 16,
};
/* In place of a length: the rest of the ring is unused; beside it: the record is not complete, or nothing after all. */
#define SKIP (~0ul)
#define BUSY (1ul << 63)
#define DISCARD (1ul << 62)
/* In place of a place in the ring, a multiple of ALIGN: the call is for Python; there is nothing to tell; no room. */
enum { PYTHON = 1, NOTHING = 2, FULL = 3 };

/* A record up to its blobs, as record.py packs it. */
struct __attribute__((packed)) record {
    unsigned arch;
    int number, tid, tgid;
    long time;
    word arguments[6];
    unsigned short marks, blobs;
    unsigned first;
    word second;
};

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define call(number, a, b, c) call6(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline void copy(void *to, const void *from, word size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void zero(void *at, word size)
{
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(0) : "memory");
}

static long now(const struct context *c)
{
    struct __kernel_timespec time;
    c->clock(0 /* CLOCK_REALTIME */, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

static char *append(char *end, const char *from)
{
    while (*from)
        *end++ = *from++;
    *end = 0;
    return end;
}

static char *append_number(char *end, unsigned number)
{
    char digits[10];
    int count = 0;
    do
        digits[count++] = '0' + number % 10;
    while (number /= 10);
    while (count)
        *end++ = digits[--count];
    return end;
}

/* Writes the path of a file of a thread in /proc, in less than 48 bytes. */
static char *append_proc(char *end, int tid, const char *name)
{
    return append(append_number(append(end, "/proc/"), tid), name);
}
