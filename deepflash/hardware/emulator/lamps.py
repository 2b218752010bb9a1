"""How bright the studio lamps were during an exposure.

A lamp does not go out at once: its light follows its switch exponentially, with one time constant while
it rises and another while it decays. A sensor adds up what arrives while the shutter is open, so what
a picture sees is the mean over the exposure, integrated here in closed form.
"""

import math
from collections.abc import Sequence


def lamp_light(
    switchings: Sequence[tuple[float, bool]],
    start_s: float,
    duration_s: float,
    *,
    rise_s: float,
    decay_s: float,
) -> float:
    """Return the lamps' mean light over an exposure, relative to their full light.

    Parameters
    ----------
    switchings
        (time in seconds, on) in order of time; before the first the lamps are dark and off.
    start_s, duration_s
        When the shutter opens, on the same clock, and for how long; the duration is positive.
    rise_s, decay_s
        Time constants towards full light after switching on, towards darkness after switching off; positive.

    Returns
    -------
    float
        0 (dark) to 1 (full light throughout).

    Raises
    ------
    ValueError
        if the switchings are not in order of time, or a duration is not positive.

    Examples
    --------
    Switched on long ago, then off 0.2 s before a short exposure; the glow has fallen by e^-2:

    >>> round(lamp_light([(0, True), (9.8, False)], 10.0, 0.001, rise_s=0.1, decay_s=0.1), 3)
    0.135
    """
    if duration_s <= 0 or rise_s <= 0 or decay_s <= 0:
        raise ValueError(f"durations must be positive: {duration_s=}, {rise_s=}, {decay_s=}")
    times = [time_s for time_s, _ in switchings]
    if times != sorted(times):
        raise ValueError("switchings must be in order of time")
    end_s = start_s + duration_s
    light, integral, now_s, on = 0.0, 0.0, -math.inf, False
    for time_s, switched_on in [*switchings, (end_s, False)]:
        until_s = min(time_s, end_s)
        constant_s = rise_s if on else decay_s
        if start_s > now_s:  # up to the shutter's opening light only changes, from there on it is collected
            before_s = min(start_s, until_s)
            light = _followed(light, on, before_s - now_s, constant_s)
            now_s = before_s
        integral += _collected(light, on, until_s - now_s, constant_s)
        light = _followed(light, on, until_s - now_s, constant_s)
        now_s, on = until_s, switched_on
        if now_s >= end_s:
            break
    return integral / duration_s


def _followed(light: float, on: bool, elapsed_s: float, constant_s: float) -> float:
    target = 1.0 if on else 0.0
    return target + (light - target) * math.exp(-elapsed_s / constant_s)


def _collected(light: float, on: bool, elapsed_s: float, constant_s: float) -> float:
    """Integral of the light over `elapsed_s`, beginning at `light`."""
    target = 1.0 if on else 0.0
    return target * elapsed_s + (light - target) * constant_s * -math.expm1(-elapsed_s / constant_s)
