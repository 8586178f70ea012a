/* The end of the ring that is written to: see ring.py, `put` and `publish`. */

enum { SPINS = 200 };

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
