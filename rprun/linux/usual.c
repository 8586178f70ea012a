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

#include "usual.h"
#include "usual_known.h"

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

/* How many records in a row, up to so many, are neither of calls nor of closes. */
static long count_others(const struct context *c, word position, word end, word most)
{
    word found = 0;
    while (position < end && found < most) {
        const unsigned char *at = c->data + (position & c->mask);
        unsigned length = __atomic_load_n((const unsigned *)at, __ATOMIC_ACQUIRE);
        if (length & BUSY)
            break;
        if (!(length & DISCARD)) {
            unsigned kind = length >= 32 ? u32(at + HEADER) : 0;
            if (kind == CALL || kind == CLOSED)
                break;
            found++;
        }
        position += (HEADER + (length & ~DISCARD) + 7) & ~7ul;
    }
    return found;
}

/* Makes entries of the oldest records, up to `limit` of them, and gives the room of these back. Gives how many of those
 * that come next are Python's: one of a call or a close, or as many others as come in a row. */
__attribute__((visibility("default"))) long take(struct context *c)
{
    word position = *c->consumer, end = __atomic_load_n(c->producer, __ATOMIC_ACQUIRE);
    long others = 0;
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
                others = count_others(c, position, end, c->limit - c->taken);
                others += !others;
                break;
            }
            c->taken++;
        }
        position += (HEADER + (length & ~DISCARD) + 7) & ~7ul;
    }
    __atomic_store_n(c->consumer, position, __ATOMIC_RELEASE);
    return others;
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

/* `take` for the supervisor's ring; what comes next is one at most. */
__attribute__((visibility("default"))) long take_answered(struct context *c)
{
    word position = *c->consumer, end = __atomic_load_n(c->producer, __ATOMIC_ACQUIRE);
    long others = 0;
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
            others = 1;
            break;
        }
        c->taken++;
        position += HEADER + ((length + 7) & ~7ul);
    }
    __atomic_store_n(c->consumer, position, __ATOMIC_RELEASE);
    return others;
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
