# cython: wraparound=False, cdivision=True
"""Rows as columns, whose buffers are those of Arrow's arrays."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from headrace.archive.native.rows cimport Row, Rows, Value
from headrace.archive.native.scan cimport Span, Text


cdef dict columns_of(Rows of, Span* devices, uint32_t* order, Py_ssize_t count, dict constants):
    """Return rows as `Batch.columns` does; `devices` are names by number, `order` has their places."""
    cdef Row* rows = of._rows
    cdef Py_ssize_t place, names = 0, ids = 0, readings = 0, sequences = 0
    cdef Row* row
    cdef unsigned char* text
    for place in range(count):
        prefetch(&rows[order[min(place + FETCHED_AHEAD, count - 1)]])
        row = &rows[order[place]]
        names += devices[row.device].size
        ids += row.id_size
        readings += row.readings_size
        sequences += row.sequence_size
    cdef _Texts device = _Texts(count, names), identity = _Texts(count, ids)
    cdef _Texts reading = _Texts(count, readings), sequence = _Texts(count, sequences)
    cdef _Numbers time = _Numbers(8, count), arrived = _Numbers(8, count)
    cdef _Numbers number = _Numbers(8, count), size = _Numbers(4, count), shard = _Numbers(4, count)
    cdef _Bits are_numbered = _Bits(count)
    cdef _Typed typed = _Typed(of, count)
    for place in range(count):
        prefetch(&rows[order[min(place + 2 * FETCHED_AHEAD, count - 1)]])
        row = &rows[order[min(place + FETCHED_AHEAD, count - 1)]]
        prefetch(of._texts + row.text_at)
        prefetch(of._texts + row.text_at + 64)
        row = &rows[order[place]]
        text = of._texts + row.text_at
        device.add(devices[row.device].at, devices[row.device].size)
        identity.add(text, row.id_size)
        text += row.id_size
        reading.add(text, row.readings_size)
        text += row.readings_size
        sequence.add(text, row.sequence_size)
        typed.add(place, text + row.sequence_size, row.typed)
        (<int64_t*>time.at)[place] = row.time
        (<int64_t*>arrived.at)[place] = row.arrived
        (<int64_t*>number.at)[place] = row.number
        (<int32_t*>size.at)[place] = row.bytes
        (<int32_t*>shard.at)[place] = of._sources[row.source].shard
        if row.number >= 0:
            are_numbered.set(place)
    cdef dict found = {
        "device_id": [None, device.offsets, device.made],
        "time": [None, time.made],
        "id": [None, identity.offsets, identity.made],
        "arrived_at": [None, arrived.made],
        "number": [are_numbered.made, number.made],
        "bytes": [None, size.made],
        **dict(typed.made),
    }
    if of._has_sequences:
        found["sequence_number"] = [sequence.there.made, sequence.offsets, sequence.made]
    if of._has_readings:
        found["readings"] = [reading.there.made, reading.offsets, reading.made]
    if "stream" not in constants:
        found["stream"] = _streams(of, order, count)
    if "shard" not in constants:
        found["shard"] = [None, shard.made]
    if "shard_created" not in constants:
        found["shard_created"] = [are_numbered.made, _created(of, order, count)]
    return found


cdef list _streams(Rows of, uint32_t* order, Py_ssize_t count):
    cdef list names = of._streams
    cdef Py_ssize_t place, size = 0
    for place in range(count):
        size += len(<bytes>names[of._rows[order[place]].source])
    cdef _Texts stream = _Texts(count, size)
    for place in range(count):
        name = <bytes>names[of._rows[order[place]].source]
        stream.add(<Text>PyBytes_AS_STRING(name), len(name))
    return [None, stream.offsets, stream.made]


cdef bytes _created(Rows of, uint32_t* order, Py_ssize_t count):
    cdef _Numbers created = _Numbers(8, count)
    cdef Py_ssize_t place
    for place in range(count):
        (<int64_t*>created.at)[place] = of._sources[of._rows[order[place]].source].created
    return created.made


cdef class _Typed:
    """The columns of typed readings, to be filled."""

    cdef list made  # numbers and bits of each
    cdef double** _numbers
    cdef uint8_t** _bits

    def __cinit__(self, Rows of, Py_ssize_t count):
        cdef int place
        cdef _Numbers numbers
        cdef _Bits there
        self.made = []
        self._numbers = <double**>PyMem_Calloc(max(1, of._typed_count), sizeof(double*))
        self._bits = <uint8_t**>PyMem_Calloc(max(1, of._typed_count), sizeof(uint8_t*))
        if self._numbers == NULL or self._bits == NULL:
            raise MemoryError
        for place in range(of._typed_count):
            if of._has_typed[place]:
                numbers, there = _Numbers(8, count), _Bits(count)
                self._numbers[place], self._bits[place] = <double*>numbers.at, there.at
                self.made.append(((<bytes>of._names[place]).decode(), [there.made, numbers.made]))

    def __dealloc__(self):
        PyMem_Free(self._numbers)
        PyMem_Free(self._bits)

    cdef inline void add(self, Py_ssize_t row, const unsigned char* values, int count) noexcept nogil:
        cdef Value value
        cdef int place
        for place in range(count):
            memcpy(&value, values + place * sizeof(Value), sizeof(Value))
            self._numbers[value.place][row] = value.number
            self._bits[value.place][row >> 3] |= 1 << (row & 7)


cdef class _Numbers:
    """A column of numbers, zeros at first."""

    cdef bytes made
    cdef void* at

    def __cinit__(self, int size, Py_ssize_t count):
        self.made = bytes(size * count)
        self.at = PyBytes_AS_STRING(self.made)


cdef class _Bits:
    """A bitmap, unset at first."""

    cdef bytes made
    cdef uint8_t* at

    def __cinit__(self, Py_ssize_t count):
        self.made = bytes((count + 7) // 8)
        self.at = <uint8_t*>PyBytes_AS_STRING(self.made)

    cdef inline void set(self, Py_ssize_t place) noexcept nogil:
        self.at[place >> 3] |= 1 << (place & 7)


cdef class _Texts:
    """A column of texts, to be filled; empty ones are not `there`."""

    cdef bytes offsets, made
    cdef _Bits there
    cdef int32_t* _ends
    cdef unsigned char* _text
    cdef int32_t _size
    cdef Py_ssize_t _count

    def __cinit__(self, Py_ssize_t count, Py_ssize_t size):
        if size >= 2**31:
            raise OverflowError(size)
        self.offsets = PyBytes_FromStringAndSize(NULL, 4 * (count + 1))
        self.made = PyBytes_FromStringAndSize(NULL, size)
        self.there = _Bits(count)
        self._ends = <int32_t*>PyBytes_AS_STRING(self.offsets)
        self._text = <unsigned char*>PyBytes_AS_STRING(self.made)
        self._ends[0] = 0

    cdef inline void add(self, Text text, int32_t size) noexcept nogil:
        if size:
            memcpy(self._text + self._size, text, size)
            self._size += size
            self.there.set(self._count)
        self._count += 1
        self._ends[self._count] = self._size
