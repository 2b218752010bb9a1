"""The phone's clock, read from here."""

import math
from collections import deque
from dataclasses import dataclass

_WINDOW_S = 10.0  # two quartz clocks part by less than 50 millionths, half a millisecond within this time
_CONTRADICTION_S = 0.005  # beyond what the round trips explain: the phone's clock has stood still or been set


@dataclass(frozen=True)
class Reading:
    """One reading of the phone's clock.

    Attributes
    ----------
    at_s
        When it was made, on CLOCK_MONOTONIC.
    offset_s
        What to add to CLOCK_MONOTONIC to have the phone's clock.
    doubt_s
        By how much `offset_s` may be wrong: half the time that the message was under way.
    """

    at_s: float
    offset_s: float
    doubt_s: float


class PhoneClock:
    """Follows the phone's clock as NTP does, and trusts the readings whose messages travelled fastest.

    A message that waited anywhere took longer than its like; of the last ten seconds' readings the one with the
    shortest way there and back is right to half that way, however uneven the two ways are (RFC 5905, section 8 and 10).

    >>> clock = PhoneClock()
    >>> clock.add(sent_s=10.0, heard_s=60.2, answered_s=60.3, back_s=10.5)  # 0.4 s under way
    >>> clock.add(sent_s=11.0, heard_s=61.002, answered_s=61.002, back_s=11.004)  # 0.004 s under way
    >>> reading = clock.best()
    >>> round(reading.offset_s, 6), round(reading.doubt_s, 6)
    (50.0, 0.002)
    """

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def add(self, *, sent_s: float, heard_s: float, answered_s: float, back_s: float) -> None:
        """Take in one question and its answer.

        Parameters
        ----------
        sent_s, back_s
            When the question left and the answer arrived here, on CLOCK_MONOTONIC.
        heard_s, answered_s
            When the question arrived and the answer left there, on the phone's clock.

        Raises
        ------
        ValueError
            if these are no times in which a question can be answered.
        """
        under_way_s = (back_s - sent_s) - (answered_s - heard_s)
        if not (math.isfinite(under_way_s) and under_way_s >= 0 and answered_s >= heard_s):
            raise ValueError(f"an answer that left {answered_s - heard_s:.3f} s after the question came cannot be")
        reading = Reading(back_s, ((heard_s - sent_s) + (answered_s - back_s)) / 2, under_way_s / 2)
        if any(_contradict(reading, old) for old in self._readings):
            self._readings.clear()
        while self._readings and self._readings[0].at_s < back_s - _WINDOW_S:
            self._readings.popleft()
        self._readings.append(reading)

    def best(self) -> Reading | None:
        """Return the reading of the last ten seconds that is least in doubt; None before the first."""
        return min(self._readings, key=lambda reading: reading.doubt_s, default=None)

    def __len__(self) -> int:
        return len(self._readings)


def _contradict(one: Reading, other: Reading) -> bool:
    return abs(one.offset_s - other.offset_s) > one.doubt_s + other.doubt_s + _CONTRADICTION_S
