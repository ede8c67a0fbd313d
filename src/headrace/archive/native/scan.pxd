"""A line's JSON, as far as regular lines need it. Nothing is read from `end` on, whatever the line holds."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "eight bytes are taken at once, the first as the lowest"
    #endif
    """
    int lowest "__builtin_ctzll"(uint64_t) nogil
    uint64_t EACH "0x0101010101010101ULL"

cdef enum:
    LEVELS = 100  # what is nested deeper is not regular, though it may be an event

ctypedef const unsigned char* Text

cdef struct Span:
    Text at
    Py_ssize_t size

cdef enum Kind:
    TEXT, NUMBER, WORD, NESTED

cdef struct Member:
    Span name
    Span value  # of a text without its quotes
    Kind kind


cdef inline bint is_digit(unsigned char byte) noexcept nogil:
    return b"0" <= byte <= b"9"


cdef inline Text spaces(Text p, Text end) noexcept nogil:
    while p < end and (p[0] == b" " or p[0] == b"\t"):
        p += 1
    return p


cdef inline Text text_end(Text p, Text end) noexcept nogil:
    """Return the quote that ends a text without a backslash; NULL if it is no such."""
    cdef uint64_t eight, quote, backslash, found
    while end - p >= 8:
        memcpy(&eight, p, 8)
        # Taking 1 away sets the highest bit of a byte that is 0, as what was equal is; taking 32 away, that of a
        # control character. The lowest such bit is right; those above it may be set by what was borrowed.
        quote, backslash = eight ^ EACH * 34U, eight ^ EACH * 92U
        found = (quote - EACH & ~quote | backslash - EACH & ~backslash | eight - EACH * 32U & ~eight) & EACH * 128U
        if found:
            p += lowest(found) >> 3
            return p if p[0] == b'"' else NULL
        p += 8
    while p < end and p[0] != b'"':
        if p[0] == b"\\" or p[0] < 32:
            return NULL
        p += 1
    return p if p < end else NULL


cdef inline bint read_eight(Text p, uint64_t* value) noexcept nogil:
    """Read eight digits; False if they are none."""
    cdef uint64_t eight
    memcpy(&eight, p, 8)
    # A digit is 0x30 to 0x39: its upper half is 3, and still is with 6 added.
    if (eight & EACH * 240U) != EACH * 48U or (eight + EACH * 6U & EACH * 240U) != EACH * 48U:
        return False
    # A product puts neighbours together: 2561 is 10 << 8 | 1, the next are 100 << 16 | 1 and 10000 << 32 | 1.
    eight = (eight & EACH * 15U) * 2561U >> 8  # two digits each
    eight = (eight & 0x00FF00FF00FF00FFULL) * 6553601U >> 16  # four each
    value[0] = (eight & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32
    return True


cdef inline Text number_end(Text p, Text end) noexcept nogil:
    """Return where a JSON number ends; NULL if it is none."""
    if p < end and p[0] == b"-":
        p += 1
    if p == end or not is_digit(p[0]):
        return NULL
    if p[0] == b"0":
        p += 1
    else:
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and p[0] == b".":
        p += 1
        if p == end or not is_digit(p[0]):
            return NULL
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and (p[0] == b"e" or p[0] == b"E"):
        p += 1
        if p < end and (p[0] == b"+" or p[0] == b"-"):
            p += 1
        if p == end or not is_digit(p[0]):
            return NULL
        while p < end and is_digit(p[0]):
            p += 1
    return p


cdef inline Text nested_end(Text p, Text end) noexcept nogil:
    """Return where an object or array ends; NULL if it is nested too deep or does not end."""
    cdef int level = 0
    while p < end:
        if p[0] == b'"':
            p += 1
            while p < end and p[0] != b'"':
                p += 2 if p[0] == b"\\" else 1
            if p >= end:
                return NULL
        elif p[0] == b"{" or p[0] == b"[":
            level += 1
            if level > LEVELS:
                return NULL
        elif p[0] == b"}" or p[0] == b"]":
            level -= 1
            if level == 0:
                return p + 1
        p += 1
    return NULL


cdef inline bint has(Text p, Text end, const char* text, Py_ssize_t size) noexcept nogil:
    return end - p >= size and memcmp(p, text, size) == 0


cdef inline bint is_name(Span name, const char* text, Py_ssize_t size) noexcept nogil:
    return name.size == size and memcmp(name.at, text, size) == 0


cdef inline bint is_same(Span one, Span other) noexcept nogil:
    return one.size == other.size and memcmp(one.at, other.at, one.size) == 0


cdef inline bint read_count(Text p, Text end, int digits_max, int64_t* value) noexcept nogil:
    """Read digits without needless zeros; False for anything else."""
    if p == end or end - p > digits_max or (p[0] == b"0" and end - p > 1):
        return False
    value[0] = 0
    while p < end:
        if not is_digit(p[0]):
            return False
        value[0] = 10 * value[0] + p[0] - 48
        p += 1
    return True


cdef inline Text read_member(Text p, Text end, Member* member) noexcept nogil:
    """Read a name and its value from the name's quote on; return where the value ends, NULL if it is not regular."""
    cdef Text stop
    member.name.at = p + 1
    p = text_end(p + 1, end)
    if p == NULL:
        return NULL
    member.name.size = p - member.name.at
    p = spaces(p + 1, end)
    if p == end or p[0] != b":":
        return NULL
    p = spaces(p + 1, end)
    if p == end:
        return NULL
    member.value.at = p
    if p[0] == b'"':
        member.kind = TEXT
        member.value.at = p + 1
        stop = text_end(p + 1, end)
        if stop == NULL:
            return NULL
        member.value.size = stop - member.value.at
        return stop + 1
    if p[0] == b"{" or p[0] == b"[":
        member.kind = NESTED
        stop = nested_end(p, end)
    elif p[0] == b"-" or is_digit(p[0]):
        member.kind = NUMBER
        stop = number_end(p, end)
    else:
        member.kind = WORD
        if has(p, end, b"true", 4) or has(p, end, b"null", 4):
            stop = p + 4
        elif has(p, end, b"false", 5):
            stop = p + 5
        else:
            return NULL
    if stop != NULL:
        member.value.size = stop - p
    return stop
