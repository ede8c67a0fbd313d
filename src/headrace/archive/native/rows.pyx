# cython: wraparound=False, cdivision=True
"""Regular lines of raw objects, decoded: what `exact.py` does for any line, many times faster.

    rows = Rows(typed=("temperature",))
    regular, others = rows.add(content, head, stream="events", shard=0)
    batch = Batch(rows)

A line is regular if its record is a JSON object, or an array of them, whose members have no backslash in their names
nor in their texts, no name twice, usual times and lengths. A raw object is known to be unchanged, and so to hold strict
JSON; what stands in an object within an object is taken as it is.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, strcmp

from headrace.archive.native.event cimport MEMBERS, Event, read_event
from headrace.archive.native.scan cimport (
    NUMBER, TEXT, Member, Span, Text, has, is_digit, is_same, read_count, read_eight, spaces, text_end
)
from headrace.archive.native.times cimport END_US, US, read_time

from headrace.archive.exact import number_of
from headrace.event import AHEAD_MS_MAX

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, void* overflow) except? -1.0
    char* PyOS_double_to_string(double number, char code, int precision, int flags, int* kind) except NULL
    int Py_DTSF_ADD_DOT_0

cdef enum:
    EVENT_BYTES = 16 * 1024  # so that the texts of a file's row group have less than 2 GiB
    DEVICE_BYTES = 2048
    ID_BYTES = 256
    SEQUENCE = 56  # digits
    DEFAULT_ID = SEQUENCE + 14  # sequence.subsequence.index
    INDEX_END = 1_000_000  # from here on an index has more than its six digits
    KNOWN_BITS = 14
    KNOWN = 1 << KNOWN_BITS  # devices that are found at once

cdef int64_t AHEAD_US = 1000 * AHEAD_MS_MAX

cdef double[16] POWERS
cdef int _power
POWERS[0] = 1.0
for _power in range(1, 16):
    POWERS[_power] = POWERS[_power - 1] * 10.0


cdef bint read_sequence(Text digits, int64_t arrived, Row* row, Source* source) noexcept nogil:
    """Take a sequence number apart as `record.py` does, which has its layout; False for another creation than before.

    Its text is kept where it is not what the parts say.
    """
    cdef int64_t created
    cdef uint64_t part, number, shard, low = 0, middle = 0, high = 0  # of 192 bits
    cdef uint128_t product
    cdef int place
    for place in range(0, SEQUENCE, 8):
        if not read_eight(digits + place, &part):
            return False
        product = <uint128_t>low * 100_000_000U + part
        low = <uint64_t>product
        product = <uint128_t>middle * 100_000_000U + <uint64_t>(product >> 64)
        middle = <uint64_t>product
        high = high * 100_000_000U + <uint64_t>(product >> 64)
    row.number, row.sequence_size = -1, SEQUENCE
    shard, number = <uint32_t>(low >> 4), middle >> 16 | high << 48
    if high >> 56 != 2 or low & 0xF != 2 or high >> 16 & 0xF != shard & 0xF or number >> 63:
        return True
    created = <int64_t>(high >> 20 & (<uint64_t>1 << 36) - 1)
    if source.created < 0:
        source.created = created
    if created != source.created:
        return False
    row.number = <int64_t>number
    if middle >> 8 & 0xFF == 0 and (low >> 36 | (middle & 0xFF) << 28) == <uint64_t>(arrived // US):
        row.sequence_size = 0
    return True


cdef void write_default_id(unsigned char* text, Text sequence, int index) noexcept nogil:
    """Write `<sequence number>.000000.<index>`, the index with six digits."""
    cdef int place
    memcpy(text, sequence, SEQUENCE)
    memcpy(text + SEQUENCE, b".000000.", 8)
    for place in range(DEFAULT_ID - 1, SEQUENCE + 7, -1):
        text[place] = 48 + index % 10
        index //= 10


cdef class Rows:
    """Rows on their way to a file. `typed` are readings with a column of their own."""

    def __cinit__(self, typed):
        self._names = tuple(name.encode() for name in typed)
        self._typed_count = len(self._names)
        self._typed = <Span*>PyMem_Calloc(max(1, self._typed_count), sizeof(Span))
        self._has_typed = <bint*>PyMem_Calloc(max(1, self._typed_count), sizeof(bint))
        self._known = <Known*>PyMem_Calloc(KNOWN, sizeof(Known))
        if self._typed == NULL or self._has_typed == NULL or self._known == NULL:
            raise MemoryError
        for place, name in enumerate(self._names):
            self._typed[<int>place].at = <Text>PyBytes_AS_STRING(name)
            self._typed[<int>place].size = len(name)
        self._devices, self._streams = {}, []
        self._all_numbered = True

    def __dealloc__(self):
        PyMem_Free(self._typed)
        PyMem_Free(self._has_typed)
        PyMem_Free(self._known)
        PyMem_Free(self._sources)
        PyMem_Free(self._rows)
        PyMem_Free(self._texts)

    @property
    def size(self):
        """Return about how much memory the rows take."""
        return self._texts_size + self._count * <Py_ssize_t>sizeof(Row)

    @property
    def rows(self):
        """Return how many rows there are."""
        return self._count

    cdef int _reserve(self, Py_ssize_t texts) except -1:
        """Make room for a row and so many bytes of text more."""
        cdef Py_ssize_t room
        cdef void* made
        if self._count == self._room:
            room = max(2 * self._room, 1)
            made = PyMem_Realloc(self._rows, room * sizeof(Row))
            if made == NULL:
                raise MemoryError
            self._rows = <Row*>made
            self._room = room
        if self._texts_size + texts > self._texts_room:
            room = max(2 * self._texts_room, self._texts_size + texts)
            made = PyMem_Realloc(self._texts, room)
            if made == NULL:
                raise MemoryError
            self._texts = <unsigned char*>made
            self._texts_room = room
        return 0

    def add(self, bytes content not None, bytes head not None, str stream not None, int32_t shard):
        """Add the events of an object's regular lines; return how many lines those are, and where each other one is.

        `head` is what its lines begin with, up to the sequence number; `stream` and `shard` are what that says. If it
        raises, some of the events may have been added.
        """
        cdef Text p = <Text>PyBytes_AS_STRING(content)
        cdef Text start = p
        cdef Text end = p + len(content)
        cdef Text line_end
        cdef Py_ssize_t head_size = len(head)
        cdef const char* head_at = PyBytes_AS_STRING(head)
        cdef Py_ssize_t count, texts_size, regular = 0
        cdef list others = []
        cdef void* made = PyMem_Realloc(self._sources, (len(self._streams) + 1) * sizeof(Source))
        if made == NULL:
            raise MemoryError
        self._sources = <Source*>made
        self._sources[len(self._streams)] = Source(shard, -1)
        self._streams.append(stream.encode())
        while p < end:
            line_end = <Text>memchr(p, b"\n", end - p)
            if line_end == NULL:
                line_end = end
            count, texts_size = self._count, self._texts_size
            if has(p, line_end, head_at, head_size) and self._line(p + head_size, line_end):
                regular += 1
            else:
                self._count, self._texts_size = count, texts_size
                others.append((p - start, line_end - start))
            p = line_end + 1
        return regular, others

    cdef bint _line(self, Text p, Text end) except -1:
        """Add a line's events, from its sequence number on; False if it is not regular."""
        cdef Text digits
        cdef Record record
        cdef int64_t arrived
        if end - p < SEQUENCE:
            return False
        record.sequence = p
        p += SEQUENCE
        if not has(p, end, b'","key":"', 9):
            return False
        p += 9
        record.key.at = p
        p = text_end(p, end)
        if p == NULL:
            return False
        record.key.size = p - record.key.at
        if not has(p, end, b'","arrived_us":', 15):
            return False
        p += 15
        digits = p
        while p < end and is_digit(p[0]):
            p += 1
        if not read_count(digits, p, 18, &arrived) or arrived >= END_US or not has(p, end, b',"data":', 8):
            return False
        arrived -= arrived % 1000
        record.shared.source = <uint32_t>(len(self._streams) - 1)
        record.shared.arrived = arrived
        if not read_sequence(record.sequence, arrived, &record.shared, &self._sources[record.shared.source]):
            return False
        if record.shared.number < 0:
            self._all_numbered = False
        p = spaces(p + 8, end)
        p = self._events(p, end, &record) if p < end and p[0] == b"[" else self._event(p, end, &record, 0)
        if p == NULL:
            return False
        p = spaces(p, end)
        return end - p == 1 and p[0] == b"}"

    cdef Text _events(self, Text p, Text end, Record* record) except? NULL:
        """Add the events of an array that begins here; return where it ends, NULL if it is not regular."""
        cdef int index = 0
        p = spaces(p + 1, end)
        if p < end and p[0] == b"]":
            return p + 1
        while True:
            p = self._event(p, end, record, index)
            if p == NULL:
                return NULL
            index += 1
            p = spaces(p, end)
            if p == end:
                return NULL
            if p[0] == b"]":
                return p + 1
            if p[0] != b",":
                return NULL
            p = spaces(p + 1, end)

    cdef Text _event(self, Text p, Text end, Record* record, int index) except? NULL:
        """Add an event that begins here; return where it ends, NULL if it is not regular."""
        cdef Event event
        cdef Text start = p
        cdef Span device = record.key
        cdef Row row = record.shared
        p = read_event(p, end, &event)
        if p == NULL or p - start >= EVENT_BYTES or index >= INDEX_END:
            return NULL
        row.bytes = <uint16_t>(p - start)
        if event.time == NULL:
            row.time = row.arrived
        elif not read_time(event.time, &row.time) or row.time > row.arrived + AHEAD_US:
            return NULL
        if event.device != NULL:
            if event.device.kind != TEXT:
                return NULL
            device = event.device.value
        if not 1 <= device.size <= DEVICE_BYTES:
            return NULL
        if event.identity != NULL and (event.identity.kind != TEXT or not 1 <= event.identity.value.size <= ID_BYTES):
            return NULL
        if event.measure == NULL or event.value == NULL:
            event.measure = event.value = NULL  # readings like others
        elif event.measure.kind != TEXT or event.measure.value.size == 0:
            return NULL
        row.device = self._device(device)
        return p if self._write(&event, &row, record.sequence, index) else NULL

    cdef bint _write(self, Event* event, Row* row, Text sequence, int index) except -1:
        """Add a row with its texts; False if a reading has the name that `measure` gives to another."""
        cdef Value[MEMBERS] values
        cdef Member* member
        cdef unsigned char* text
        cdef int place
        # What is written is the members' own text, and an id, a sequence number and typed values at most.
        self._reserve(row.bytes + DEFAULT_ID + SEQUENCE + 2 + sizeof(values))
        row.text_at = self._texts_size
        text = self._texts + self._texts_size
        if event.identity != NULL:
            row.id_size = <uint16_t>event.identity.value.size
            memcpy(text, event.identity.value.at, row.id_size)
        else:
            row.id_size = DEFAULT_ID
            write_default_id(text, sequence, index)
        text += row.id_size
        row.readings_size = row.typed = 0
        for place in range(event.count):
            member = &event.members[place]
            if member == event.device or member == event.time or member == event.identity:
                continue
            if member == event.measure or member == event.value:
                continue
            if event.measure != NULL and is_same(member.name, event.measure.value):
                return False
            self._reading(member.name, member, text, row, values)
        if event.measure != NULL:
            self._reading(event.measure.value, event.value, text, row, values)
        if row.readings_size:
            text[row.readings_size] = b"}"
            row.readings_size += 1
            text += row.readings_size
            self._has_readings = True
        if row.sequence_size:
            memcpy(text, sequence, SEQUENCE)
            text += SEQUENCE
            self._has_sequences = True
        memcpy(text, values, row.typed * sizeof(Value))
        text += row.typed * sizeof(Value)
        self._texts_size = text - self._texts
        self._rows[self._count] = row[0]
        self._count += 1
        return True

    cdef int _reading(self, Span name, Member* member, unsigned char* text, Row* row, Value* values) except -1:
        """Take a reading to the row's typed values, or write it as JSON, or both if a double does not say it exactly."""
        cdef int place
        cdef Py_ssize_t quotes = 1 if member.kind == TEXT else 0
        cdef bint is_exact = False
        cdef double number
        if member.kind == NUMBER:
            for place in range(self._typed_count):
                if is_same(name, self._typed[place]):
                    number = read_number(member.value, &is_exact)
                    if number == number:
                        values[row.typed] = Value(number, place)
                        row.typed += 1
                        self._has_typed[place] = True
                    break
        if is_exact:
            return 0
        text += row.readings_size
        text[0] = b"," if row.readings_size else b"{"
        text[1] = b'"'
        memcpy(text + 2, name.at, name.size)
        text += name.size + 2
        text[0] = b'"'
        text[1] = b":"
        memcpy(text + 2, member.value.at - quotes, member.value.size + 2 * quotes)
        row.readings_size += <uint16_t>(name.size + 4 + member.value.size + 2 * quotes)
        return 0

    cdef uint32_t _device(self, Span key) except? 4294967295U:
        cdef uint32_t tail = 0
        memcpy(&tail, key.at + max(0, key.size - 4), min(4, key.size))
        cdef Known* known = &self._known[(tail + <uint32_t>key.size) * 2654435761U >> 32 - KNOWN_BITS]
        if known.name.at != NULL and is_same(known.name, key):
            return known.device
        cdef bytes name = PyBytes_FromStringAndSize(<const char*>key.at, key.size)
        if name not in self._devices:
            self._devices[name] = name, len(self._devices)
        name, known.device = self._devices[name]
        known.name.at, known.name.size = <Text>PyBytes_AS_STRING(name), key.size
        return known.device


cdef double read_number(Span text, bint* is_exact) except? -1.0:
    """Return a number as `exact.number_of` does, NaN for None."""
    cdef Text p = text.at
    cdef Text end = p + text.size
    cdef int64_t digits = 0
    cdef int decimals = -1
    cdef bint is_negative = p[0] == b"-"
    if text.size <= 15:
        p += is_negative
        while p < end:
            if is_digit(p[0]):
                digits = 10 * digits + p[0] - 48
                if decimals >= 0:
                    decimals += 1
            elif p[0] == b".":
                decimals = 0
            else:
                break
            p += 1
        if p == end:  # both are exact as doubles, so their quotient is the nearest one
            is_exact[0] = True
            number = <double>digits / POWERS[max(decimals, 0)]
            return -number if is_negative else number
    cdef char[32] copied
    cdef char* shortest
    if text.size < 32:
        memcpy(copied, text.at, text.size)
        copied[text.size] = 0
        number = PyOS_string_to_double(copied, NULL, NULL)
        shortest = PyOS_double_to_string(number, b"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        is_exact[0] = strcmp(copied, shortest) == 0
        PyMem_Free(shortest)
        if is_exact[0]:
            return number
    found, exact = number_of(text.at[: text.size])
    is_exact[0] = exact
    return NAN if found is None else found
