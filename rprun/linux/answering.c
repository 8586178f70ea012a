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
 * - The machine code is committed beside this file and its headers, as there need be no compiler where rprun runs:
 *   `python scripts/build_machine_code.py --check` tells whether it is what this source gives, `--write` makes it anew.
 * - Two threads may answer, each with a context of its own and on a processor of its own (supervisor.py says when). They
 *   share the ring, in which each reserves its place before it answers, and what `struct company` has.
 * - Structures and numbers are those of rprun/linux/answering.py, rprun/backends/seccomp/ring.py and record.py, whose
 *   tests hold the two together.
 */

#include "answering.h"
#include "answering_paths.h"
#include "answering_places.h"
#include "answering_ring.h"

_Static_assert(sizeof(struct company) == 9 * 4 + 3 * PROCESSORS / 8, "answering.py: _Common");
_Static_assert(sizeof(struct context) == 29 * 8, "answering.py: _FIELDS");
_Static_assert(sizeof(struct record) == 88, "record.py: _HEADER, _CAPTURED");

/* Gives the plan of a call, 0 where it is for Python in any case. */
static int plan_of(const struct context *c)
{
    const struct seccomp_notif *seen = c->request;
    int tid = (int)seen->pid;
    if (tid <= 0 || c->known[tid % KNOWN] != (unsigned)tid || seen->data.arch != c->arch
        || (unsigned)seen->data.nr >= PLANS)
        return 0;
    return c->plans[seen->data.nr];
}

/* Captures a call and places its record in the ring; gives where that is, PYTHON or NOTHING. */
static word note(struct context *c, int plan)
{
    const struct seccomp_notif *seen = c->request;
    int tid = (int)seen->pid, at = !!(plan & AT), marks = 0;

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
        if (c->company->is_off) {
            c->company->is_two = 0;
            return RECEIVED;
        }
        int tid = (int)c->request->pid, plan = plan_of(c);
        if (weigh(c, tid, plan))
            return WANTED;
        /* Both ways: the clock may be set. */
        if (c->now >= c->look_at || c->now < c->look_at - c->window) {
            if (somebody_ended(c))
                return LOOK_AROUND;
            c->look_at = c->now + c->window;
        }
        word start = c->words[CLOSED] ? NOTHING : plan ? note(c, plan) : PYTHON;
        if (start == PYTHON)
            return RECEIVED;

        c->response->id = c->request->id;
        c->response->val = 0;
        c->response->error = 0;
        c->response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        int elsewhere = c->sync && is_elsewhere(c, tid);
        c->last = tid;
        if (elsewhere)
            wake_synchronously(c, 0);
        long failed = call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_SEND, c->response);
        if (elsewhere)
            wake_synchronously(c, 1);
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
