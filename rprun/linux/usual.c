/* The usual records of opens and closes, without an interpreter: from the kernel's ring, or the supervisor's, to lines.
 *
 * Everything else is Python's (rprun/backends/ebpf, rprun/backends/seccomp), which calls `take` or `take_answered` and
 * gets back when the next record is its own. In a build 19 of 20 records are of opens and closes in the same few ways,
 * or of files that have been opened before: an interpreter takes some 3 us for each, most of it for its own code and
 * data coming back into the caches. Some facts about it:
 *
 * - They make an entry of 16 bytes of each record, `write` a line of each entry. Between the two they get their
 *   numbers, and who wants no lines makes events of them.
 * - What a record says is known by the bytes that it ends with: Python teaches both lines that may come of them. Of a
 *   plain path, in letters that need no care, it is enough to know the form: what the record has in front of the path,
 *   and the line behind it. So a file need not have been opened before.
 * - Of a descriptor that a process has open either this side knows or Python: who has to do with one that the other
 *   side knows takes it over (rprun/linux/usual.py). Here are only those that take one record to open and one to close.
 * - It calls nothing and nobody, so it cannot fail. The object is committed, as that of answering.c is:
 *   `python scripts/build_machine_code.py --check` tells whether it is what this source gives.
 * - Structures and numbers are those of usual.py, of rprun/backends/ebpf/layout.py and plans.py, and of
 *   rprun/backends/seccomp/record.py and ring.py, whose tests hold them together. Records are in the byte order of the
 *   machine.
 */

typedef unsigned long word;
/* In memory that anything may be in, at any place. */
typedef unsigned any_u32 __attribute__((may_alias, aligned(1)));
typedef word any_word __attribute__((may_alias, aligned(1)));

enum {
    CALL = 7, CLOSED = 9,                             /* layout.py: Kind */
    WHAT_AT = 80, CALL_SIZE = 120, CLOSED_SIZE = 64,  /* plans.py, layout.py */
    WHATS = 2048, SLOTS = 8192, ARENA = 1 << 20,
    NUMBERS = 512, ARGUMENTS_AT = 24, CAPTURED_AT = 72, /* record.py */
    PROCESSES = 128, FINDERS = 4096, DESCRIPTORS = 256, BITS = 64,
    FORMS = 64, FORM_SIZE = CALL_SIZE - WHAT_AT, LONGEST = 2048,
};
#define BUSY (1u << 31)
#define DISCARD (1u << 30)
#define HEADER 8
/* ring.py: in place of a length, and beside one. */
#define SKIP (~0ul)
#define NOT_COMPLETE (1ul << 63)
#define WITHDRAWN (1ul << 62)

/* What a record is about, and what its lines end with; all at an offset in the arena, where there is room behind. */
struct what {
    unsigned hash, key, key_size, opened, opened_size, closed, closed_size;
    unsigned form; /* the index and 1 where it was not taught by Python, else 0 */
};

/* What an open says besides its path. */
struct form {
    unsigned char start[FORM_SIZE];
    unsigned rest, rest_size; /* in the arena: of the line of the open, what is behind the path */
    unsigned has_closed, spare;
};

/* What is known here of a process that Python has introduced. */
struct process {
    word tgid;
    word mine[DESCRIPTORS / BITS];   /* by bit, the descriptors that something is said of here */
    word theirs[DESCRIPTORS / BITS]; /* those that Python knows of */
    struct {
        word since; /* the time of the record by which it was opened; 0 if it is not */
        word over;  /* since when the one was open that was closed last; 0 if none was */
        word what;  /* the index */
    } of[DESCRIPTORS];
};

struct entry {
    word time_ns; /* since the Unix epoch */
    unsigned pid;
    unsigned text; /* twice the index of a struct what, and 1 if it is closed */
};

/* In the order of usual.py: `_FIELDS`. */
struct context {
    word *consumer;
    const word *producer;
    const unsigned char *data;
    word mask;
    struct what *whats;
    unsigned short *slots; /* by hash: the index and 1, or 0 */
    unsigned char *arena;
    struct process *processes;
    unsigned char *finders; /* by tgid: the index of a process and 1, or 0 */
    const unsigned char *heads[2]; /* of the line of an open, and of a close: between its number and the process */
    word head_sizes[2];
    /* What Python reads and writes too. */
    word known, used; /* how many whats there are, and bytes of the arena */
    word most; /* how many whats there may be: up to WHATS */
    struct form *forms;
    word formed; /* how many there are */
    word offset; /* what the time of records lacks of that since the epoch */
    struct entry *entries;
    word room, made; /* how many there may be, and are */
    word limit, taken; /* records */
    /* Of the supervisor's records: the ABI whose calls are known, and by their numbers, of those that open, in which
     * register the flags are; 0 for the others. */
    word arch;
    const unsigned char *registers;
};

_Static_assert(sizeof(struct context) == 26 * 8, "usual.py: _FIELDS");
_Static_assert(sizeof(struct what) == 32 && sizeof(struct entry) == 16 && sizeof(struct form) == 56, "usual.py");
_Static_assert(sizeof(struct process) == (1 + 2 * DESCRIPTORS / BITS + 3 * DESCRIPTORS) * 8, "usual.py: _PROCESS");

/* What `take` returns. */
enum { NOTHING, PYTHON };

static inline unsigned u32(const unsigned char *at)
{
    return *(const any_u32 *)at;
}

static inline word u64(const unsigned char *at)
{
    return *(const any_word *)at;
}

/* The bytes of the last word of a text that are its own. */
static inline word mask_of(word size)
{
    return size & 7 ? (1ul << (size & 7) * 8) - 1 : ~0ul;
}

/* Keys begin at multiples of 8, and end within memory that is there up to the next one. */
static unsigned hash_of(const unsigned char *key, word size)
{
    word hash = size, at = 0;
    for (; at + 8 < size; at += 8) {
        hash = (hash ^ u64(key + at)) * 0x9e3779b97f4a7c15ul;
        hash ^= hash >> 29;
    }
    hash = (hash ^ (u64(key + at) & mask_of(size))) * 0x9e3779b97f4a7c15ul;
    return hash >> 32;
}

static int is_same(const unsigned char *one, const unsigned char *other, word size)
{
    word at = 0;
    for (; at + 8 < size; at += 8)
        if (u64(one + at) != u64(other + at))
            return 0;
    return !((u64(one + at) ^ u64(other + at)) & mask_of(size));
}

/* Gives the index of what a record is about; -1 if that is not known. */
static long find(const struct context *c, const unsigned char *key, word size)
{
    unsigned hash = hash_of(key, size);
    for (unsigned slot = hash % SLOTS; c->slots[slot]; slot = (slot + 1) % SLOTS) {
        const struct what *what = &c->whats[c->slots[slot] - 1];
        if (what->hash == hash && what->key_size == size && is_same(c->arena + what->key, key, size))
            return c->slots[slot] - 1;
    }
    return -1;
}

static struct process *process_of(const struct context *c, unsigned tgid)
{
    unsigned index = c->finders[tgid % FINDERS];
    struct process *process = &c->processes[index - 1];
    return index && process->tgid == tgid ? process : 0;
}

static inline int has(const word *bits, word index)
{
    return bits[index / BITS] >> index % BITS & 1;
}

static inline void make(struct context *c, const unsigned char *record, word text)
{
    struct entry *entry = &c->entries[c->made++];
    entry->time_ns = u64(record + 16) + c->offset;
    entry->pid = u32(record + 12);
    entry->text = text;
}

/* Places a text in the arena, from a multiple of 8 on, with as much behind it as `append` may read. */
static unsigned place(struct context *c, const unsigned char *text, word size)
{
    unsigned at = c->used;
    for (word each = 0; each < size; each++)
        c->arena[at + each] = text[each];
    c->used += ((size + 7) & ~7ul) + 8;
    return at;
}

/* By words: what is behind the text is overwritten with what comes next. */
static inline unsigned char *append(unsigned char *end, const unsigned char *text, word size)
{
    for (word at = 0; at < size; at += 8)
        *(any_word *)(end + at) = u64(text + at);
    return end + size;
}

/* Makes what is placed already an element of the table. */
static long enter(struct context *c, struct what *what, const unsigned char *key, word key_size)
{
    what->key = place(c, key, key_size);
    what->key_size = key_size;
    what->hash = hash_of(c->arena + what->key, key_size);
    unsigned slot = what->hash % SLOTS;
    while (c->slots[slot])
        slot = (slot + 1) % SLOTS;
    c->slots[slot] = ++c->known;
    return c->known - 1;
}

/* Appends the path that the two blobs of an open lead to; gives its end, 0 where Python has to look at it. The first blob
 * is the text, the second one the names of the directory, the last of them first, each with a NUL. */
static unsigned char *append_path(unsigned char *end, const unsigned char *blobs, word size)
{
    unsigned char *start = end;
    word text_size = size >= 8 ? u32(blobs) : 0;
    if (!text_size || text_size > size - 8 || text_size + 8 + u32(blobs + 4 + text_size) != size)
        return 0;
    const unsigned char *text = blobs + 4, *names = text + text_size + 4, *last = blobs + size;
    if (text[0] != '/') {
        while (last > names) {
            if (*--last)
                return 0;
            const unsigned char *first = last;
            while (first > names && first[-1])
                first--;
            if (first == last)
                return 0;
            *end++ = '/';
            for (const unsigned char *each = first; each < last; each++)
                *end++ = *each;
            last = first;
        }
        *end++ = '/';
    }
    for (word each = 0; each < text_size; each++)
        *end++ = text[each];
    for (unsigned char *each = start; each < end; each++)
        if (*each < ' ' || *each > '~' || *each == '"' || *each == '\\')
            return 0;
    return end;
}

static const unsigned char PATH[16] __attribute__((aligned(8))) = ",\"path\":\"";
static const unsigned char CLOSED_REST[24] __attribute__((aligned(8))) = "\",\"result\":\"ok\"}";

/* Learns what a record is about by its form; gives the index, -1 where Python has to look at it. */
static long learn_path(struct context *c, const unsigned char *key, word size)
{
    /* Neither line is longer than twice the longest key and a rest. */
    if (size > LONGEST || c->known == c->most || c->used + 6 * LONGEST > ARENA)
        return -1;
    word index = 0;
    while (index < c->formed && !is_same(c->forms[index].start, key, FORM_SIZE))
        index++;
    if (index == c->formed)
        return -1;
    const struct form *form = &c->forms[index];
    struct what *what = &c->whats[c->known];
    unsigned char *start = c->arena + c->used, *path = append(start, PATH, 9);
    unsigned char *end = append_path(path, key + FORM_SIZE, size - FORM_SIZE);
    if (!end)
        return -1;
    word path_size = end - path;
    *end++ = '"';
    end = append(end, c->arena + form->rest, form->rest_size);
    if ((word)(end - start) > LONGEST)
        return -1;
    what->opened = c->used;
    what->opened_size = end - start;
    what->closed = what->closed_size = 0;
    c->used += (what->opened_size + 15) & ~7ul;
    if (form->has_closed) {
        start = c->arena + c->used;
        end = append(append(append(start, PATH, 9), path, path_size), CLOSED_REST, 16);
        what->closed = c->used;
        what->closed_size = end - start;
        c->used += (what->closed_size + 15) & ~7ul;
    }
    what->form = index + 1;
    return enter(c, what, key, size);
}

/* Does what there is to do for a CALL record; gives 0 if Python has to. */
static int take_call(struct context *c, const unsigned char *record, word size)
{
    if (size <= CALL_SIZE)
        return 0;
    long what = find(c, record + WHAT_AT, size - WHAT_AT);
    if (what < 0)
        what = learn_path(c, record + WHAT_AT, size - WHAT_AT);
    if (what < 0)
        return 0;
    if (c->whats[what].closed_size) {
        word descriptor = u64(record + 24), time = u64(record + 16);
        struct process *process = process_of(c, u32(record + 8));
        if (!process || descriptor >= DESCRIPTORS || !time || has(process->theirs, descriptor))
            return 0;
        if (process->of[descriptor].since)
            return 0; /* The one before is not over yet. */
        process->mine[descriptor / BITS] |= 1ul << descriptor % BITS;
        process->of[descriptor].since = time;
        process->of[descriptor].what = what;
    }
    make(c, record, 2 * what);
    return 1;
}

/* The same for a CLOSED record. */
static int take_closed(struct context *c, const unsigned char *record, word size)
{
    struct process *process = size == CLOSED_SIZE ? process_of(c, u32(record + 8)) : 0;
    if (!process)
        return 0;
    word descriptor = u64(record + 24), sent = u64(record + 32), since = u64(record + 56);
    if (descriptor >= DESCRIPTORS || sent || !since || !has(process->mine, descriptor))
        return 0;
    if (process->of[descriptor].over == since)
        return 1; /* It has been told twice. */
    if (process->of[descriptor].since != since)
        return 0;
    process->of[descriptor].over = since;
    process->of[descriptor].since = 0;
    make(c, record, 2 * process->of[descriptor].what + 1);
    return 1;
}

/* Makes entries of the oldest records, up to `limit` of them, and gives the room of these back. PYTHON: the next one is
 * not for this. */
__attribute__((visibility("default"))) long take(struct context *c)
{
    word position = *c->consumer, end = __atomic_load_n(c->producer, __ATOMIC_ACQUIRE);
    long outcome = NOTHING;
    c->made = c->taken = 0;
    while (position < end && c->taken < c->limit && c->made < c->room) {
        const unsigned char *at = c->data + (position & c->mask);
        unsigned length = __atomic_load_n((const unsigned *)at, __ATOMIC_ACQUIRE);
        if (length & BUSY)
            break;
        if (!(length & DISCARD)) {
            const unsigned char *record = at + HEADER;
            unsigned kind = length >= 32 ? u32(record) : 0;
            if (kind == CALL ? !take_call(c, record, length)
                             : kind == CLOSED ? !take_closed(c, record, length) : 1) {
                outcome = PYTHON;
                break;
            }
            c->taken++;
        }
        position += (HEADER + (length & ~DISCARD) + 7) & ~7ul;
    }
    __atomic_store_n(c->consumer, position, __ATOMIC_RELEASE);
    return outcome;
}

/* The same for an open that the supervisor has answered. What it is about is put together: the call, its flags, and what
 * was captured. */
static int take_answer(struct context *c, const unsigned char *record, word size)
{
    unsigned char key[LONGEST] __attribute__((aligned(8)));
    word number = u32(record + 4), key_size = 16 + size - CAPTURED_AT, at = 16;
    if (u32(record) != c->arch || number >= NUMBERS || !c->registers[number])
        return 0;
    *(any_word *)key = u64(record);
    *(any_word *)(key + 8) = u32(record + ARGUMENTS_AT + 8 * c->registers[number]);
    for (const unsigned char *from = record + CAPTURED_AT; at < key_size; at += 8, from += 8)
        *(any_word *)(key + at) = u64(from);
    long what = find(c, key, key_size);
    if (what < 0)
        return 0;
    make(c, record, 2 * what);
    return 1;
}

/* `take` for the supervisor's ring. */
__attribute__((visibility("default"))) long take_answered(struct context *c)
{
    word position = *c->consumer, end = __atomic_load_n(c->producer, __ATOMIC_ACQUIRE);
    long outcome = NOTHING;
    c->made = c->taken = 0;
    while (position < end && c->taken < c->limit && c->made < c->room) {
        word start = position & c->mask, length = __atomic_load_n((const word *)(c->data + start), __ATOMIC_ACQUIRE);
        if (length == SKIP) {
            position += c->mask + 1 - start;
            continue;
        }
        if (length & NOT_COMPLETE)
            break;
        if (length & WITHDRAWN) {
            position += HEADER + (((length & ~WITHDRAWN) + 7) & ~7ul);
            continue;
        }
        if (length < CAPTURED_AT || length > LONGEST - 24 || !take_answer(c, c->data + start + HEADER, length)) {
            outcome = PYTHON;
            break;
        }
        c->taken++;
        position += HEADER + ((length + 7) & ~7ul);
    }
    __atomic_store_n(c->consumer, position, __ATOMIC_RELEASE);
    return outcome;
}

/* Has opens be told of from now on that say what this key does: by an opening line, and, if they have opened something,
 * by a closing one. Gives the index; -1 where there is no room left. */
__attribute__((visibility("default"))) long learn(
    struct context *c, const unsigned char *key, word key_size,
    const unsigned char *opened, word opened_size, const unsigned char *closed, word closed_size)
{
    if (c->known == c->most || c->used + key_size + opened_size + closed_size + 64 > ARENA)
        return -1;
    struct what *what = &c->whats[c->known];
    what->opened = place(c, opened, opened_size);
    what->opened_size = opened_size;
    what->closed = place(c, closed, closed_size);
    what->closed_size = closed_size;
    what->form = 0;
    return enter(c, what, key, key_size);
}

/* Has an open be told of from now on whatever plain path it has: by what its record has before the path, and its line
 * behind it. Gives the index; -1 where there is no room left. */
__attribute__((visibility("default"))) long learn_form(
    struct context *c, const unsigned char *start, const unsigned char *rest, word rest_size, word has_closed)
{
    if (c->formed == FORMS || c->used + rest_size + 64 > ARENA)
        return -1;
    struct form *form = &c->forms[c->formed];
    for (int each = 0; each < FORM_SIZE; each++)
        form->start[each] = start[each];
    form->rest = place(c, rest, rest_size);
    form->rest_size = rest_size;
    form->has_closed = has_closed;
    return c->formed++;
}

static unsigned char *append_number(unsigned char *end, word number)
{
    unsigned char digits[24], *first = digits + sizeof(digits);
    do
        *--first = '0' + number % 10;
    while (number /= 10);
    while (first < digits + sizeof(digits))
        *end++ = *first++;
    return end;
}

static const unsigned char BEGIN[8] __attribute__((aligned(8))) = "{\"seq\":";
static const unsigned char AT[24] __attribute__((aligned(8))) = ",\"timestamp_ms\":";

/* Writes the lines of entries, of which the first has this number, to where there is room for so many of the longest;
 * gives their size. */
__attribute__((visibility("default"))) long write(
    const struct context *c, const struct entry *entries, word count, word number, unsigned char *into)
{
    unsigned char *end = into;
    for (const struct entry *entry = entries; entry < entries + count; entry++) {
        const struct what *what = &c->whats[entry->text / 2];
        int closed = entry->text & 1;
        end = append(end, BEGIN, 7);
        end = append_number(end, number++);
        end = append(end, c->heads[closed], c->head_sizes[closed]);
        end = append_number(end, entry->pid);
        end = append(end, AT, 16);
        end = append_number(end, entry->time_ns / 1000000);
        end = append(end, c->arena + (closed ? what->closed : what->opened),
                     closed ? what->closed_size : what->opened_size);
        *end++ = '\n';
    }
    return end - into;
}
