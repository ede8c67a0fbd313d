# cython: wraparound=False, cdivision=True
"""Rows in order: by day, device, time and id; of the same identity, as they arrived."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, memcpy

from headrace.archive.native.columns cimport FETCHED_AHEAD, columns_of, prefetch
from headrace.archive.native.rows cimport Row, Rows, Source
from headrace.archive.native.scan cimport Span, Text
from headrace.archive.native.times cimport DAY_US, END_US, LEAST_US


cdef class Batch:
    """The rows that there were when it was made, sorted by day, device, time and id; more may be added meanwhile."""

    cdef Rows _of
    cdef uint32_t* _order  # of rows, with room for as many again
    cdef int64_t* _times  # of rows in that order, while it is by device
    cdef readonly Py_ssize_t rows
    cdef readonly bint has_copies  # whether an identity comes twice
    cdef readonly list days  # each day's number since 1970, and its first row's place
    cdef readonly dict constants  # of columns that have the same value in all rows
    cdef Span* _devices  # their names, which `_of` holds, by number

    def __cinit__(self, Rows of not None):
        self._of = of
        self.days, self.constants = [], {}
        self.rows = of._count
        self._order = <uint32_t*>PyMem_Malloc(max(1, 2 * of._count) * sizeof(uint32_t))
        self._times = <int64_t*>PyMem_Malloc(max(1, of._count) * sizeof(int64_t))
        self._devices = <Span*>PyMem_Malloc(max(1, len(of._devices)) * sizeof(Span))
        if self._order == NULL or self._times == NULL or self._devices == NULL:
            raise MemoryError
        for number, name in enumerate(of._devices):
            self._devices[<Py_ssize_t>number] = Span(<Text>PyBytes_AS_STRING(name), len(name))
        if of._count:
            self._by_device()
            self._by_day()
            self._find_constants()

    def __dealloc__(self):
        PyMem_Free(self._order)
        PyMem_Free(self._times)
        PyMem_Free(self._devices)

    cdef int _by_device(self) except -1:
        """Order rows by device, time and id."""
        cdef Py_ssize_t count = len(self._of._devices), place, row, start
        cdef uint32_t* ranks = <uint32_t*>PyMem_Malloc(count * sizeof(uint32_t))  # of devices, by number
        cdef Py_ssize_t* ends = <Py_ssize_t*>PyMem_Calloc(count + 1, sizeof(Py_ssize_t))  # of their rows, by rank
        cdef Row* rows = self._of._rows
        if ranks == NULL or ends == NULL:
            PyMem_Free(ranks)
            PyMem_Free(ends)
            raise MemoryError
        try:
            for place, name in enumerate(sorted(self._of._devices)):
                ranks[<uint32_t>self._of._devices[name][1]] = <uint32_t>place
            for row in range(self.rows):
                ends[ranks[rows[row].device] + 1] += 1
            for place in range(count):
                ends[place + 1] += ends[place]
            for row in range(self.rows):
                place = ends[ranks[rows[row].device]]
                self._order[place] = <uint32_t>row
                ends[ranks[rows[row].device]] = place + 1
            for place in range(self.rows):
                prefetch(&rows[self._order[min(place + FETCHED_AHEAD, self.rows - 1)]])
                self._times[place] = rows[self._order[place]].time
            start = 0
            for place in range(count):
                self._sort(start, ends[place])
                start = ends[place]
        finally:
            PyMem_Free(ranks)
            PyMem_Free(ends)
        return 0

    cdef int _sort(self, Py_ssize_t start, Py_ssize_t end) except -1:
        """Sort a device's rows, that is look at them: most are in order."""
        cdef uint32_t* order = self._order
        cdef int64_t* times = self._times
        cdef Row* rows = self._of._rows
        cdef unsigned char* texts = self._of._texts
        cdef Py_ssize_t place, sorted_
        for place in range(start + 1, end):
            if times[place - 1] >= times[place] and is_before(&rows[order[place]], &rows[order[place - 1]], texts):
                merge_sort(order + start, order + self.rows, end - start, rows, texts)
                for sorted_ in range(start, end):
                    times[sorted_] = rows[order[sorted_]].time
                break
        for place in range(start + 1, end):
            if times[place - 1] == times[place] and not compared(&rows[order[place]], &rows[order[place - 1]], texts):
                self.has_copies = True
        return 0

    cdef int _by_day(self) except -1:
        """Order rows by day; those of a day stay as they are."""
        cdef int64_t least = END_US, most = LEAST_US, first, day
        cdef Py_ssize_t place, days, start = 0, count
        cdef Py_ssize_t* starts
        cdef uint32_t* order = self._order + self.rows
        for place in range(self.rows):
            least, most = min(least, self._times[place]), max(most, self._times[place])
        first = (least - LEAST_US) // DAY_US
        days = (most - LEAST_US) // DAY_US - first + 1
        if days == 1:
            self.days.append((first + LEAST_US // DAY_US, 0))
            return 0
        starts = <Py_ssize_t*>PyMem_Calloc(days, sizeof(Py_ssize_t))
        if starts == NULL:
            raise MemoryError
        try:
            for place in range(self.rows):
                starts[(self._times[place] - LEAST_US) // DAY_US - first] += 1
            for day in range(days):
                count, starts[day] = starts[day], start
                if count:
                    self.days.append((day + first + LEAST_US // DAY_US, start))
                start += count
            for place in range(self.rows):
                day = (self._times[place] - LEAST_US) // DAY_US - first
                order[starts[day]] = self._order[place]
                starts[day] += 1
        finally:
            PyMem_Free(starts)
        memcpy(self._order, order, self.rows * sizeof(uint32_t))
        return 0

    cdef int _find_constants(self) except -1:
        cdef Source* sources = self._of._sources
        cdef Py_ssize_t count = len(self._of._streams), place
        cdef bint one_shard = True, one_created = self._of._all_numbered
        for place in range(count):
            one_shard = one_shard and sources[place].shard == sources[0].shard
            one_created = one_created and sources[place].created == sources[0].created
        if len(set(self._of._streams)) == 1:
            self.constants["stream"] = (<bytes>self._of._streams[0]).decode()
        if one_shard:
            self.constants["shard"] = sources[0].shard
        if one_created:
            self.constants["shard_created"] = sources[0].created
        return 0

    def columns(self, Py_ssize_t start, Py_ssize_t end):
        """Return some rows as the buffers of Arrow's arrays, by column; without constants and what can only be null.

        Times are microseconds. An array's buffers are validity (None if no row is null), offsets of texts, data. Raises
        IndexError, and OverflowError where a column's texts come to 2 GiB: those of a row group do not.
        """
        if not 0 <= start <= end <= self.rows:
            raise IndexError(start, end)
        return columns_of(self._of, self._devices, self._order + start, end - start, self.constants)


cdef int compared(Row* one, Row* other, const unsigned char* texts) noexcept nogil:
    """Compare two rows of a device by time and id."""
    cdef int found
    if one.time != other.time:
        return -1 if one.time < other.time else 1
    found = memcmp(texts + one.text_at, texts + other.text_at, min(one.id_size, other.id_size))
    if found:
        return found
    return <int>one.id_size - <int>other.id_size


cdef inline bint is_before(Row* one, Row* other, const unsigned char* texts) noexcept nogil:
    """Return whether a row of the same device comes strictly before another: by identity, then as it arrived."""
    cdef int found = compared(one, other, texts)
    if found:
        return found < 0
    if one.arrived != other.arrived:
        return one.arrived < other.arrived
    return one.number < other.number


cdef void merge_sort(
    uint32_t* order, uint32_t* free, Py_ssize_t count, Row* rows, const unsigned char* texts
) noexcept nogil:
    """Sort a device's rows, stably; `free` is room for as many."""
    cdef Py_ssize_t place = 0, left = 0, half = count // 2, right = half
    if count < 2:
        return
    merge_sort(order, free, half, rows, texts)
    merge_sort(order + half, free, count - half, rows, texts)
    if not is_before(&rows[order[half]], &rows[order[half - 1]], texts):
        return
    memcpy(free, order, half * sizeof(uint32_t))
    while left < half:
        if right < count and is_before(&rows[order[right]], &rows[free[left]], texts):
            order[place] = order[right]
            right += 1
        else:
            order[place] = free[left]
            left += 1
        place += 1
