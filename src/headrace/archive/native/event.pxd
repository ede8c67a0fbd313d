"""An event's members, and those among them that are no readings."""

from headrace.archive.native.scan cimport Member, Span, Text, is_name, is_same, read_member, spaces

cdef enum:
    MEMBERS = 64

cdef struct Event:
    Member[MEMBERS] members
    int count
    Member* device  # this and the following are among the members; NULL if not sent
    Member* time
    Member* identity
    Member* measure
    Member* value


cdef inline Member** place_of(Event* event, Span name) noexcept nogil:
    """Return where a member of this name belongs; NULL if it is a reading."""
    if is_name(name, b"device_id", 9):
        return &event.device
    if is_name(name, b"time", 4):
        return &event.time
    if is_name(name, b"id", 2):
        return &event.identity
    if is_name(name, b"measure", 7):
        return &event.measure
    if is_name(name, b"value", 5):
        return &event.value
    return NULL


cdef inline Text read_event(Text p, Text end, Event* event) noexcept nogil:
    """Read an object; return where it ends, NULL if it is not regular, has a name twice or too many members."""
    cdef Member* member
    cdef Member** place
    cdef int other
    event.count = 0
    event.device = event.time = event.identity = event.measure = event.value = NULL
    if p == end or p[0] != b"{":
        return NULL
    p = spaces(p + 1, end)
    if p < end and p[0] == b"}":
        return p + 1
    while p < end and p[0] == b'"' and event.count < MEMBERS:
        member = &event.members[event.count]
        p = read_member(p, end, member)
        if p == NULL:
            return NULL
        place = place_of(event, member.name)
        if place == NULL:
            for other in range(event.count):
                if is_same(event.members[other].name, member.name):
                    return NULL
        elif place[0] == NULL:
            place[0] = member
        else:
            return NULL
        event.count += 1
        p = spaces(p, end)
        if p == end:
            return NULL
        if p[0] == b"}":
            return p + 1
        if p[0] != b",":
            return NULL
        p = spaces(p + 1, end)
    return NULL
