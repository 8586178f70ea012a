/* The supervisor's usual case, without an interpreter: calls with one plain path by processes that are known already.
 *
 * Everything else is Python's (rprun/backends/seccomp/supervisor.py), which calls `answer` and gets back the first
 * notification that is no such call. What is done here is what is done there, in the same order: receive, capture,
 * answer, publish. Some facts about it:
 *
 * - It is no faster in what the kernel does, but an interpreter's loop is some 30 KB of code and data that drives the
 *   command's own out of the caches at each call; this is 3 KB.
 * - It calls nothing but the kernel, and by the addresses that it is given clock_gettime(2) and sched_getcpu(3), which
 *   need no system call. So the object depends on no library, and is the same for every libc.
 * - The machine code is committed beside this file, as there need be no compiler where rprun runs:
 *   `python scripts/build_machine_code.py --check` tells whether it is what this source gives, `--write` makes it anew.
 * - Two threads may answer, each with a context of its own and on a processor of its own (supervisor.py says when). They
 * share the ring, in which each reserves its place before it answers, and what `struct company` has.
 * - Structures and numbers are those of rprun/linux/answering.py, rprun/backends/seccomp/ring.py and record.py, whose
 *   tests hold the two together.
 */

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
    int size;      /* bytes of a set of processors */
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
    long careful;                 /* nobody may be waited for: only what the kernel knows is looked at */
    long missed;                  /* what was looked for last was not there, as the next of a search may not be */
    struct company *company;
    long place;                   /* which of the threads this is: 0 or 1 */
    long pinned;                  /* it keeps to its own processor */
};

_Static_assert(sizeof(struct context) == 30 * 8, "answering.py: _FIELDS");

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
enum { MOVED = 200000 }; /* ns that a thread waits, or runs, before the scheduler moves it: less than a tick */
/* In place of a length: the rest of the ring is unused; beside it: the record is not complete, or nothing after all. */
#define SKIP (~0ul)
#define BUSY (1ul << 63)
#define DISCARD (1ul << 62)
/* In place of a place in the ring, a multiple of ALIGN: the call is for Python; there is nothing to tell; no room. */
enum { PYTHON = 1, NOTHING = 2, FULL = 3 };
/* What `mix` counts to; from where two threads answer, and up to where. In the build of a C program by make -j2 it is
 * half of it, in one that is made by one process after the other a twentieth. */
enum { MIXED = 1 << 16, MUCH = MIXED / 4, LITTLE = MIXED / 10, SMOOTH = 5 };
enum { SPINS = 200, SCHED_OTHER = 0, SCHED_BATCH = 3 };

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

_Static_assert(sizeof(struct record) == 88, "record.py: _HEADER, _CAPTURED");

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

/* Reads a string of less than CHUNK bytes that ends on the page it starts on: what is on the next one is not the call's
 * to touch. Gives its length, -1 where it is longer or cannot be read. */
static long text(int tid, word address, char *into)
{
    word left = PAGE - address % PAGE;
    struct { void *base; word size; } local = {into, CHUNK}, remote = {(void *)address, left < CHUNK ? left : CHUNK};
    long size = call6(__NR_process_vm_readv, tid, (long)&local, 1, (long)&remote, 1, 0);
    for (long length = 0; length < size; length++)
        if (!into[length])
            return length;
    return -1;
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

/* Reads /proc/TID/cwd, or /proc/TID/fd/NUMBER; gives the path's length, -1 where Python has to look at it. */
static long directory(int tid, int number, char *into)
{
    char link[48];
    char *end = append_proc(link, tid, number == AT_FDCWD ? "/cwd" : "/fd/");
    if (number != AT_FDCWD)
        *append_number(end, number) = 0;
    long size = call(__NR_readlink, link, into, PATH);
    /* What is no path, or was cut; and what may have been deleted: " (deleted)" ends with this. */
    if (size <= 0 || size == PATH || into[0] != '/' || into[size - 1] == ')')
        return -1;
    return size;
}

/* Whether it may be another thing for whoever asks, as /proc/self and /dev/fd, /dev/stdin; or is /dev/userfaultfd. */
static int is_special(const char *path, const char *end)
{
    for (; end - path >= 4; path++) {
        if (path[0] == 's' && path[1] == 'e' && path[2] == 'l' && path[3] == 'f')
            return 1;
        if (end - path >= 6 && path[0] == '/' && path[1] == 'd' && path[2] == 'e' && path[3] == 'v' && path[4] == '/'
            && (path[5] == 'f' || path[5] == 's' || (path[5] == 'u' && end - path >= 7 && path[6] == 's')))
            return 1;
    }
    return 0;
}

/* Looks at a path without going where openat2(2) is told not to; gives 0 or an error. */
static long look(const char *path, word nofollow, word resolve)
{
    struct open_how how = {O_PATH | O_CLOEXEC | nofollow, 0, resolve};
    long file = call6(__NR_openat2, AT_FDCWD, (long)path, (long)&how, sizeof(how), 0, 0);
    if (file < 0)
        return file;
    call(__NR_close, file, 0, 0);
    return 0;
}

static int is_absence(long error)
{
    return error == -NO_ENTRY || error == -NOT_A_DIRECTORY;
}

/* Looks whether a path is there, as an open with these flags would find it; gives marks, -1 where Python has to look.
 *
 * What is not there may be so for this process alone, where a link leads to /proc/self: that is for Python, and what
 * has no link on its way cannot. */
static int existence(struct context *c, const char *path, word flags)
{
    word nofollow = flags & O_NOFOLLOW;
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        nofollow = O_NOFOLLOW;
    word cached = c->careful ? RESOLVE_CACHED : 0;
    long error = c->missed ? look(path, nofollow, RESOLVE_NO_SYMLINKS | cached) : 0;
    if (is_absence(error))
        return ABSENT;
    if (c->missed && !error) {
        c->missed = 0;
        return EXISTS;
    }
    if (cached)
        error = look(path, nofollow, RESOLVE_NO_MAGICLINKS | cached);
    else if (nofollow) {
        word status[32]; /* struct stat, 144 bytes */
        error = call6(__NR_newfstatat, AT_FDCWD, (long)path, (long)status, AT_SYMLINK_NOFOLLOW, 0, 0);
    } else
        error = call(__NR_faccessat, AT_FDCWD, path, 0 /* F_OK */);
    c->missed = is_absence(error);
    if (!error)
        return EXISTS;
    if (!c->missed)
        return cached ? -1 : 0;
    return is_absence(look(path, nofollow, RESOLVE_NO_SYMLINKS | cached)) ? ABSENT : -1;
}

/* Reserves room in the ring for a record of this length, which nobody reads until `tell` or `withdraw`; gives the offset
 * of its length in the data, FULL where there is none. */
static word place(struct context *c, word length)
{
    word room = ALIGN + (length + ALIGN - 1) / ALIGN * ALIGN;
    for (int tries = 0; __atomic_exchange_n(&c->company->lock, 1, __ATOMIC_ACQUIRE); tries++) {
        if (tries < SPINS)
            __asm__ volatile("pause");
        else /* It was interrupted there. */
            call(__NR_sched_yield, 0, 0, 0);
    }
    word written = c->words[WRITTEN], start = written % c->data_size, free_to = c->words[READ] + c->data_size;
    word skipped = start + room > c->data_size ? c->data_size - start : 0;
    if (written + skipped + room > free_to)
        start = FULL;
    else {
        if (skipped) {
            *(word *)(c->data + start) = SKIP;
            start = 0;
        }
        *(word *)(c->data + start) = length | BUSY;
        __atomic_store_n(&c->words[WRITTEN], written + skipped + room, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&c->company->lock, 0, __ATOMIC_RELEASE);
    return start;
}

/* The record that is reserved there is complete; or there is none after all. */
static void tell(struct context *c, word start)
{
    word *length = (word *)(c->data + start);
    __atomic_store_n(length, *length & ~BUSY, __ATOMIC_RELEASE);
    if (c->words[ASLEEP]) {
        word one = 1;
        c->words[ASLEEP] = 0;
        call(__NR_write, c->bell, &one, sizeof(one));
    }
}

static void withdraw(struct context *c, word start)
{
    word *length = (word *)(c->data + start);
    __atomic_store_n(length, (*length & ~BUSY) | DISCARD, __ATOMIC_RELEASE);
}

/* Captures a call and places its record in the ring; gives where that is, PYTHON or NOTHING. */
static word note(struct context *c)
{
    const struct seccomp_notif *seen = c->request;
    int tid = (int)seen->pid;
    if (tid <= 0 || c->known[tid % KNOWN] != (unsigned)tid || seen->data.arch != c->arch
        || (unsigned)seen->data.nr >= PLANS)
        return PYTHON;
    int plan = c->plans[seen->data.nr], at = !!(plan & AT), marks = 0;
    if (!plan)
        return PYTHON;

    /* The directory, a slash, and the path: joined to look whether it is there, apart in the record. */
    char joined[PATH + 1 + CHUNK], *path = joined + PATH + 1;
    long base = 0, size = text(tid, seen->data.args[at], path);
    if (size <= 0)
        return PYTHON;
    char *whole = path;
    if (path[0] != '/') {
        base = directory(tid, at ? (int)seen->data.args[0] : AT_FDCWD, joined);
        if (base < 0)
            return PYTHON;
        /* Moved to the end, beside the path. */
        whole = path - 1 - base;
        for (long left = base; left--;)
            whole[left] = joined[left];
        path[-1] = '/';
    }
    if (plan & (OPENS | EXECUTES)) {
        if (is_special(whole, path + size))
            return PYTHON;
        marks = existence(c, whole, plan & OPENS ? seen->data.args[1 + at] : 0);
        if (marks < 0)
            return PYTHON;
        if (plan & EXECUTES)
            return marks & ABSENT ? NOTHING : PYTHON;
    }

    word start = place(c, sizeof(struct record) + 4 + base + 4 + size);
    if (start == FULL)
        return PYTHON;
    struct record *record = (struct record *)(c->data + start + ALIGN);
    record->arch = seen->data.arch;
    record->number = seen->data.nr;
    record->tid = record->tgid = tid;
    record->time = c->now;
    for (int index = 0; index < 6; index++)
        record->arguments[index] = seen->data.args[index];
    record->marks = marks;
    record->blobs = 2;
    record->first = 0;
    record->second = 0;
    unsigned char *into = (unsigned char *)(record + 1);
    *(unsigned *)into = base;
    copy(into + 4, whole, base);
    into += 4 + base;
    *(unsigned *)into = size;
    copy(into + 4, path, size);
    return start;
}

static int somebody_ended(const struct context *c)
{
    struct { unsigned events; word data; } __attribute__((packed)) event;
    return call6(__NR_epoll_wait, c->ended, (long)&event, 1, 0, 0, 0) != 0;
}

/* Reads /proc/TID/stat; gives its length, no more than 0 where it cannot be read. To open and to close it takes longer
 * than to read it, and the same few threads are asked about again and again. */
static long read_stat(struct stat_file *kept, int tid, char *into, word size)
{
    if (kept->tid == tid) {
        long length = call6(__NR_pread64, kept->file, (long)into, size, 0, 0, 0);
        if (length > 0)
            return length;
        /* It has ended, and another one has the number. */
    }
    if (kept->tid)
        call(__NR_close, kept->file, 0, 0);
    kept->tid = 0;
    append_proc(into, tid, "/stat");
    long file = call(__NR_open, into, 02000000 /* O_RDONLY | O_CLOEXEC */, 0);
    if (file < 0)
        return file;
    kept->tid = tid;
    kept->file = file;
    return call6(__NR_pread64, file, (long)into, size, 0, 0, 0);
}

/* Gives the processor that a thread ran on last (proc_pid_stat(5), field 39); -1 where that cannot be read. */
static long processor_of(struct context *c, int tid)
{
    char text[1024], *at = text, *end;
    long size = read_stat(&c->stat_files[tid % STAT_FILES], tid, text, sizeof(text)), found = -1;
    if (size <= 0)
        return -1;
    /* The name is the second field, in parentheses, and may hold anything. */
    end = text + size;
    for (char *each = text; each < end; each++)
        if (*each == ')')
            at = each;
    for (int field = 2; at < end && field < 39; at++)
        field += *at == ' ';
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        found = (found < 0 ? 0 : found * 10) + *at - '0';
    return found;
}

/* Whether a thread is to go on where it was, and not here, where a synchronous wake-up takes it.
 *
 * It was on another processor, which idles now, if its call waited already, behind another thread's (see
 * supervisor.py). Else the call has mostly woken this process, synchronously: that brings it to the processor of the call, but not while the scheduler
 * still counts it in elsewhere (delayed dequeue, Linux 6.12). Threads that were brought here then would share this
 * processor up to the next tick, and be brought back after that. So it is remembered where each was, and looked up of
 * one that was not heard of for so long that the scheduler may have moved it. */
static int is_elsewhere(struct context *c, int tid)
{
    struct whereabouts *it = &c->whereabouts[tid % KNOWN];
    long here = c->processor(), was = c->here;
    c->here = here;
    int elsewhere = 0, waited = c->now - c->before < c->at_once;
    if (waited && tid != c->last)
        elsewhere = 1;
    else if (waited || here == was) {
        if (it->tid != tid || c->now - it->time > MOVED)
            it->processor = processor_of(c, tid);
        elsewhere = it->processor != here && it->processor >= 0;
    }
    if (!elsewhere)
        it->processor = here;
    it->tid = tid;
    it->time = c->now;
    return elsewhere;
}

static void keep_to(const struct context *c, const unsigned char *set, int policy)
{
    int priority = 0;
    call(__NR_sched_setaffinity, 0, c->company->size, set);
    call(__NR_sched_setscheduler, 0, policy, &priority);
}

/* Sees to it that this thread is where it should be, before it waits for a call: with the other one on a processor of
 * its own, or alone, on whichever. The second one waits here while it is not wanted. */
static void take_place(struct context *c)
{
    struct company *company = c->company;
    if (!company->can_be)
        return;
    while (c->place && !__atomic_load_n(&company->is_two, __ATOMIC_ACQUIRE)) {
        c->pinned = 0;
        call6(__NR_futex, (long)&company->is_two, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
    }
    if (c->pinned == company->is_two)
        return;
    c->pinned = company->is_two;
    if (c->pinned)
        keep_to(c, company->of[c->place], SCHED_BATCH);
    else
        keep_to(c, company->both, SCHED_OTHER);
}

/* Takes note of whose call this is, and decides whether two should answer: where calls of several threads come mixed.
 * Those threads run at the same time; where one starts the other and waits for it, one's calls come after the other's.
 * Tells whether a second thread is wanted that is not there. */
static int weigh(struct context *c, int tid)
{
    struct company *company = c->company;
    company->mix += ((tid != company->last) * MIXED - company->mix) >> SMOOTH;
    company->last = tid;
    if (company->is_two) {
        if (company->mix < LITTLE)
            company->is_two = 0;
    } else if (!c->place && company->mix > MUCH) {
        company->mix = MIXED / 2;
        if (!company->can_be)
            return 1;
        for (int place = 0, here = c->processor(); place < 2; place++)
            for (int byte = 0; byte < company->size; byte++) {
                int bit = here / 8 == byte ? 1 << here % 8 : 0;
                company->of[place][byte] = place ? company->both[byte] & ~bit : bit;
            }
        __atomic_store_n(&company->is_two, 1, __ATOMIC_RELEASE);
        call6(__NR_futex, (long)&company->is_two, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    }
    return 0;
}

/* For the records that its caller makes. */
__attribute__((visibility("default"))) word reserve(struct context *c, word length)
{
    return place(c, length);
}

/* Receives and answers until there is something that is not for this: RECEIVED, LOOK_AROUND and WANTED leave a
 * notification that is to be answered, FAILED says that RECV has, DESERTED that no process is left. */
__attribute__((visibility("default"))) long answer(struct context *c)
{
    for (;;) {
        zero(c->request, c->request_size);
        take_place(c);
        if (c->polls) {
            struct { int fd; short events, revents; } poll = {(int)c->listener, POLLIN, 0};
            call6(__NR_poll, (long)&poll, 1, -1, 0, 0, 0);
            if (poll.revents & POLLHUP)
                return DESERTED;
        }
        c->before = now(c);
        if (call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_RECV, c->request) < 0)
            return FAILED;
        c->now = now(c);
        if (c->company->is_off)
            return RECEIVED;
        int tid = (int)c->request->pid;
        if (weigh(c, tid))
            return WANTED;
        /* Both ways: the clock may be set. */
        if (c->now >= c->look_at || c->now < c->look_at - c->window) {
            if (somebody_ended(c))
                return LOOK_AROUND;
            c->look_at = c->now + c->window;
        }
        word start = c->words[CLOSED] ? NOTHING : note(c);
        if (start == PYTHON)
            return RECEIVED;

        c->response->id = c->request->id;
        c->response->val = 0;
        c->response->error = 0;
        c->response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        int elsewhere = c->sync && is_elsewhere(c, tid);
        c->last = tid;
        if (elsewhere)
            call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 0);
        long failed = call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_SEND, c->response);
        if (elsewhere)
            call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
        if (start == NOTHING)
            continue; /* Or nobody reads any more. */
        if (failed)
            withdraw(c, start); /* The call was interrupted and has not happened. */
        else
            tell(c, start);
    }
}

/* The same for the call that `answer` has left to its caller. */
__attribute__((visibility("default"))) long is_to_go_elsewhere(struct context *c)
{
    return is_elsewhere(c, (int)c->request->pid);
}
