/* On which processor who is answered goes on, and on which those are who answer: see supervisor.py. */

enum { MOVED = 200000 }; /* ns that a thread waits, or runs, before the scheduler moves it: less than a tick */
/* What `mix` counts to; from where two threads answer, and up to where. In the build of a C program by make -j2 half of
 * all calls are of another thread than the one before; by make -j1 it is a sixtieth, and never more than a tenth. */
enum { MIXED = 1 << 16, MUCH = MIXED / 4, LITTLE = MIXED / 10, SMOOTH = 5 };
enum { SCHED_OTHER = 0, SCHED_BATCH = 3 };

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
 * It was on another processor, which idles now, if its call waited already, behind another one's (see supervisor.py).
 * Else the call has mostly woken this process, synchronously: that brings it to the processor of the call, but not while
 * the scheduler still counts it in elsewhere (delayed dequeue, Linux 6.12). Threads that were brought here then would
 * share this processor up to the next tick, and be brought back after that. So it is remembered where each was, and
 * looked up of one that was not heard of for so long that the scheduler may have moved it.
 *
 * Where two threads answer nobody is woken synchronously: see `take_place`. */
static int is_elsewhere(struct context *c, int tid)
{
    if (c->pinned)
        return 0;
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

static void wake_synchronously(const struct context *c, int synchronously)
{
    word flags = synchronously ? SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP : 0;
    call(__NR_ioctl, c->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags);
}

static void keep_to(const struct context *c, const unsigned char *set, int policy)
{
    int priority = 0;
    call(__NR_sched_setaffinity, 0, c->company->size, set);
    call(__NR_sched_setscheduler, 0, policy, &priority);
}

/* Sees to it that this thread is where it should be, before it waits for a call: with the other one on a processor of
 * its own, or alone, on whichever. The second one waits here while it is not wanted.
 *
 * While there are two, each may receive a call from the other one's processor. Who makes it must not be brought here,
 * so it is woken as anybody else: where it was if that idles, or where nobody is. */
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
    if (!c->place && c->sync)
        wake_synchronously(c, !c->pinned);
}

/* Takes note of whose call this is, and decides whether two should answer: where calls of several threads come mixed.
 * Those threads run at the same time; where one starts the other and waits for it, one's calls come after the other's.
 * What is Python's does not count: there each of two would wait for the other's turn to end.
 * Tells whether a second thread is wanted that is not there. */
static int weigh(struct context *c, int tid, int plan)
{
    struct company *company = c->company;
    company->mix += ((plan && tid != company->last) * MIXED - company->mix) >> SMOOTH;
    company->last = tid;
    if (company->is_two) {
        if (company->mix < LITTLE)
            company->is_two = 0;
    } else if (!c->place && company->mix > MUCH) {
        company->mix = MIXED / 2;
        if (!company->can_be) {
            int is_first = !company->was_asked;
            company->was_asked = 1;
            return is_first;
        }
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
