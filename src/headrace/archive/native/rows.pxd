from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from headrace.archive.native.event cimport Event
from headrace.archive.native.scan cimport Member, Span, Text

cdef struct Row:
    int64_t time, arrived, number  # microseconds; no number: -1
    uint64_t text_at  # id, readings, sequence number, and typed values, one behind the other
    uint32_t device, source
    uint16_t id_size, readings_size, bytes
    uint8_t sequence_size, typed  # bytes, and values

cdef struct Source:
    int32_t shard
    int64_t created  # seconds; not known: -1

cdef struct Value:
    double number
    int place  # of its column

cdef struct Record:
    Text sequence
    Span key
    Row shared  # what the rows of its events have in common

cdef struct Known:
    Span name
    uint32_t device


cdef class Rows:
    cdef tuple _names  # of typed readings, in UTF-8
    cdef Span* _typed
    cdef int _typed_count
    cdef Row* _rows
    cdef Py_ssize_t _count, _room
    cdef unsigned char* _texts
    cdef Py_ssize_t _texts_size, _texts_room
    cdef dict _devices  # by their names: these, and their numbers in the order of their first rows
    cdef Known* _known  # of some devices, each where the end of its name leads
    cdef list _streams  # one an object
    cdef Source* _sources  # one an object
    cdef bint _all_numbered
    cdef bint _has_sequences, _has_readings
    cdef bint* _has_typed

    cdef int _reserve(self, Py_ssize_t texts) except -1
    cdef bint _line(self, Text p, Text end) except -1
    cdef Text _events(self, Text p, Text end, Record* record) except? NULL
    cdef Text _event(self, Text p, Text end, Record* record, int index) except? NULL
    cdef bint _write(self, Event* event, Row* row, Text sequence, int index) except -1
    cdef int _reading(self, Span name, Member* member, unsigned char* text, Row* row, Value* values) except -1
    cdef uint32_t _device(self, Span key) except? 4294967295U
