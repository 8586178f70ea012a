/* The walk over the types of a kernel, without an interpreter: where each of them is, and which have the wanted names.
 *
 * Everything else is Python's (rprun/linux/btf.py), which does this walk too where there is no machine code. Of some
 * 20,000 types that lie before the last one that is wanted it takes 100 ns each, and this code 10 ns.
 *
 * - It writes nothing but the two arrays that it is given, and reads nothing but the words that it is given.
 * - It calls nothing and nobody. The object is committed, as that of answering.c is:
 *   `python scripts/build_machine_code.py --check` tells whether it is what this source gives.
 */

/* BTF_KIND_* (include/uapi/linux/btf.h) */
enum {
    INT = 1, ARRAY = 3, STRUCT = 4, UNION = 5, ENUM = 6, FUNC_PROTO = 13, VAR = 14, DATASEC = 15, DECL_TAG = 17,
    ENUM64 = 19, LAST = ENUM64,
};

typedef unsigned long word;

/* Words that follow the three of every type: the same for all of a kind, or for each that info counts. */
static word length_of(unsigned info)
{
    word each = info & 0xFFFF;

    switch (info >> 24 & 0x1F) {
    case INT: case VAR: case DECL_TAG: return 3 + 1;
    case ARRAY: return 3 + 3;
    case STRUCT: case UNION: case DATASEC: case ENUM64: return 3 + 3 * each;
    case ENUM: case FUNC_PROTO: return 3 + 2 * each;
    default: return 3;
    }
}

/* Go through types until there are none, or each wanted name has been found as that of a struct or a union.
 *
 * words: the section of types, of `size` words.
 * infos: by id, at which word the info of a type is; room for `room` of them, of which the first two are written already.
 *        The last one that is written may be behind the end.
 * names: offsets of the wanted names, `wanted` of them; ids: by index of these the id of the first, or 0.
 *
 * Returns how many of `infos` are written, or -1 if there is a type of a kind that is not known here.
 */
__attribute__((visibility("default")))
long walk(const unsigned *words, word size, unsigned *infos, word room, const unsigned *names, unsigned *ids, word wanted)
{
    word id = 1, at = infos[1], left = wanted;

    while (left && at < size && id + 1 < room) {
        unsigned info = words[at], kind = info >> 24 & 0x1F;

        if (!kind || kind > LAST)
            return -1;
        if (kind == STRUCT || kind == UNION) {
            unsigned name = words[at - 1];

            for (word index = 0; index < wanted; index++)
                if (names[index] == name && !ids[index]) {
                    ids[index] = (unsigned)id;
                    left--;
                }
        }
        at += length_of(info);
        infos[++id] = (unsigned)at;
    }
    return (long)id + 1;
}
