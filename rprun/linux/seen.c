/* Children that do what is to be seen by what is being tried out; without an interpreter.
 *
 * A fork of an interpreter copies its page tables, and then, page by page, what either of the two writes to: twice some
 * 2 ms, as the child has a child. This one shares the memory of its parent, which waits for it (CLONE_VM, CLONE_VFORK).
 *
 * - No child gets to any other code, or touches any memory but its stack. Whoever calls has blocked all signals: a
 *   handler would run in the memory of the parent. So there may be other threads.
 * - The object is committed, as that of answering.c is: `python scripts/build_machine_code.py --check` tells whether it
 *   is what this source gives.
 */

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum { CLOSE = 3, GETPID = 39, SOCKET = 41, CONNECT = 42, CLONE = 56, WAIT4 = 61, PRCTL = 157, EXIT_GROUP = 231, OPENAT = 257 };
enum {
    CHILD = 0x100 /* CLONE_VM */ | 0x4000 /* CLONE_VFORK */ | 17 /* SIGCHLD */,
    AT_FDCWD = -100, CLOEXEC = 0x80000, AF_UNIX = 1, SOCK_STREAM = 1, PR_SET_NAME = 15,
    STATUS = 42,
    STACK = 4096,
};

typedef unsigned long word;

static const char null[] = "/dev/null";

struct address {
    unsigned short family;
    char path[sizeof null];
};

static inline long call(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn)) static void end(long status)
{
    for (;;)
        call(EXIT_GROUP, status, 0, 0, 0);
}

/* Start a child that does `body` on a stack of its own, and wait until it ends. Returns its pid, or -errno. */
static long start(void (*body)(word), word about, char *stack)
{
    word *top = (word *)((word)(stack + STACK) & ~15ul);
    register word kept __asm__("rbx") = about;
    register void (*does)(word) __asm__("r12") = body;
    long result;

    /* Registers are the same in the child, but for rax and rsp. */
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov %%rbx, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "ud2\n\t"
                     "1:"
                     : "=a"(result)
                     : "a"((long)CLONE), "D"((long)CHILD), "S"(top), "d"(0l), "r"(kept), "r"(does)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn)) static void be_descendant(word unused)
{
    (void)unused;
    end(STATUS);
}

__attribute__((noreturn)) static void be_seen(word secret)
{
    struct address address = { AF_UNIX, { 0 } };
    char stack[STACK];
    long file, peer;

    for (word at = 0; at < sizeof null; at++)
        address.path[at] = null[at];
    call(GETPID, (long)secret, 0, 0, 0);
    file = call(OPENAT, AT_FDCWD, (long)null, CLOEXEC, 0);
    call(CLOSE, file, 0, 0, 0);
    peer = call(SOCKET, AF_UNIX, SOCK_STREAM | CLOEXEC, 0, 0);
    call(CONNECT, peer, (long)&address, sizeof address, 0);
    call(CLOSE, peer, 0, 0, 0);
    call(WAIT4, start(be_descendant, 0, stack), 0, 0, 0);
    end(0);
}

__attribute__((noreturn)) static void be_renamed(word unused)
{
    (void)unused;
    call(PRCTL, PR_SET_NAME, (long)"rprun-probe", 0, 0);
    end(STATUS);
}

/* Have a child take another name, and end with STATUS. Returns its pid, which the caller reaps, or -errno. */
__attribute__((visibility("default"))) long have_renamed(void)
{
    char stack[2 * STACK];

    return start(be_renamed, 0, stack + STACK);
}

/* Have a child tell the secret and be seen. Returns its pid, which the caller reaps, or -errno. */
__attribute__((visibility("default"))) long have_seen(word secret)
{
    char stack[4 * STACK];

    return start(be_seen, secret, stack + 3 * STACK);
}
