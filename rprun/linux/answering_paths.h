/* Paths of calls, and whether they are there: what is done in capture.py and looking.py, in the cases that are plain. */

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
    word cached = c->company->is_careful ? RESOLVE_CACHED : 0;
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
