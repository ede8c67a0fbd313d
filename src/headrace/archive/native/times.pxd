"""Times as `event.times` reads them, in microseconds since 1970; what is unusual is left to it."""

from libc.stdint cimport int64_t

from headrace.archive.native.scan cimport NUMBER, TEXT, Member, Span, Text, is_digit, read_count

cdef extern from *:
    """
    #define US 1000000LL
    #define DAY_US (86400 * US)
    #define LEAST_US (-719162 * DAY_US)
    #define END_US (2932897 * DAY_US)
    """
    int64_t US, DAY_US
    int64_t LEAST_US  # 0001-01-01
    int64_t END_US  # 10000-01-01


cdef inline int two(Text p) noexcept nogil:
    """Return two digits' number; if they are none, one so negative that no century makes up for it."""
    if not is_digit(p[0]) or not is_digit(p[1]):
        return -10_000
    return 10 * (p[0] - 48) + p[1] - 48


cdef inline bint read_rfc3339(Span text, int64_t* us) noexcept nogil:
    """Read RFC 3339 as `event.times` does; False for leap seconds and whatever else is left to it."""
    cdef Text p = text.at
    cdef Text end = p + text.size
    cdef int year, month, day, hour, minute, second, offset, decimals, last
    cdef int64_t fraction = 0, days, era, of_era, of_year
    if text.size < 19 or p[4] != b"-" or p[7] != b"-" or p[13] != b":" or p[16] != b":":
        return False
    if p[10] != b"T" and p[10] != b" " and p[10] != b"t":
        return False
    year, month, day = 100 * two(p) + two(p + 2), two(p + 5), two(p + 8)
    hour, minute, second = two(p + 11), two(p + 14), two(p + 17)
    if year < 1 or not 1 <= month <= 12 or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return False
    last = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        last = 30
    elif month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if not 1 <= day <= last:
        return False
    p += 19
    if p < end and p[0] == b".":
        p += 1
        decimals = 0
        while p < end and is_digit(p[0]):
            if decimals < 6:
                fraction = 10 * fraction + p[0] - 48
            decimals += 1
            p += 1
        if decimals == 0:
            return False
        while decimals < 6:
            fraction *= 10
            decimals += 1
    offset = 0
    if p < end:
        if p[0] == b"Z" or p[0] == b"z":
            p += 1
        elif (p[0] == b"+" or p[0] == b"-") and end - p == 6 and p[3] == b":":
            if not 0 <= two(p + 1) <= 23 or not 0 <= two(p + 4) <= 59:
                return False
            offset = 60 * two(p + 1) + two(p + 4)
            if p[0] == b"-":
                offset = -offset
            p += 6
        if p != end:
            return False
    # Days since 1970 of a day whose year begins in March, so that a leap day is a year's last.
    if month <= 2:
        year -= 1
        month += 12
    era = year // 400
    of_era = year - 400 * era
    of_year = (153 * (month - 3) + 2) // 5 + day - 1
    days = 146_097 * era + 365 * of_era + of_era // 4 - of_era // 100 + of_year - 719_468
    us[0] = (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * US + fraction
    return LEAST_US <= us[0] < END_US


cdef inline bint read_time(Member* sent, int64_t* us) noexcept nogil:
    if sent.kind == TEXT:
        return read_rfc3339(sent.value, us)
    if sent.kind != NUMBER or not read_count(sent.value.at, sent.value.at + sent.value.size, 18, us):
        return False
    if sent.value.size <= 11:
        us[0] *= US
    elif sent.value.size <= 14:
        us[0] *= 1000
    return us[0] < END_US
