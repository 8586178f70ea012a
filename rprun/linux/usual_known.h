/* What records are about, as far as that is known, and how it is learnt: a table of keys, by their hash. */

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
