/* What usual.c and its caller have in common: the tables, in memory that Python has mapped, and numbers of records. */

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
