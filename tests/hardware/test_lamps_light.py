"""deepflash/hardware/emulator/lamps.py: the lamps' light during an exposure, against numerical integration."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.hardware.emulator.lamps import lamp_light

SWITCHINGS = st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=8).map(
    lambda items: sorted(items, key=lambda s: s[0])
)


def simulated(switchings, start_s: float, duration_s: float, rise_s: float, decay_s: float, steps: int = 40_000) -> float:
    """Follow the lamps' differential equation in small steps, and average over the exposure."""
    times = np.linspace(min([0.0, start_s, *(t for t, _ in switchings)]), start_s + duration_s, steps)
    step_s = times[1] - times[0]
    states = [(-math.inf, False), *switchings]
    on = np.array([state for _, state in states])[np.searchsorted([t for t, _ in states], times, side="right") - 1]
    light, seen = 0.0, []
    for time_s, lit in zip(times, on, strict=True):
        if time_s >= start_s:
            seen.append(light)
        light += step_s * ((1 - light) / rise_s if lit else -light / decay_s)
    return float(np.mean(seen))


@pytest.mark.parametrize(
    ("switchings", "start_s", "duration_s"),
    [
        ([(0.1, True), (0.9, False)], 1.0, 0.1),  # the flash exposure: a rest of the lamps' light
        ([(0.1, True), (0.9, False)], 0.7, 0.1),  # the studio exposure: full light
        ([(0.1, True), (0.9, False)], 0.0, 1.2),  # everything within one exposure
        ([(0.1, True), (0.2, False), (0.25, True), (0.3, True), (0.5, False)], 0.15, 0.5),
        ([(0.5, True)], 0.1, 0.2),  # switched on only afterwards
        ([], 0.0, 1.0),
    ],
)
def test_light_is_what_a_simulation_of_the_lamps_gives(switchings, start_s, duration_s):
    expected = simulated(switchings, start_s, duration_s, 0.08, 0.05)
    assert lamp_light(switchings, start_s, duration_s, rise_s=0.08, decay_s=0.05) == pytest.approx(expected, abs=2e-3)


def test_lamps_on_for_long_give_full_light_and_lamps_never_on_give_none():
    assert lamp_light([(0, True)], 1000, 0.1, rise_s=0.1, decay_s=0.1) == pytest.approx(1)
    assert lamp_light([], 1000, 0.1, rise_s=0.1, decay_s=0.1) == 0


def test_an_earlier_flash_sees_more_of_the_lamps():
    light = [
        lamp_light([(0, True), (5, False)], 5 + settle_s, 0.02, rise_s=0.1, decay_s=0.06) for settle_s in (0, 0.1, 0.2, 0.4)
    ]
    assert light == sorted(light, reverse=True)
    assert light[-1] < 2e-3


@given(SWITCHINGS, st.floats(0, 12), st.floats(0.01, 2), st.floats(0.01, 1), st.floats(0.01, 1))
def test_an_exposure_collects_what_its_two_halves_collect(switchings, start_s, half_s, rise_s, decay_s):
    def light(begin_s: float, length_s: float) -> float:
        return lamp_light(switchings, begin_s, length_s, rise_s=rise_s, decay_s=decay_s)

    whole = light(start_s, 2 * half_s)
    assert 0 <= whole <= 1 + 1e-12
    assert whole == pytest.approx((light(start_s, half_s) + light(start_s + half_s, half_s)) / 2, abs=1e-9)


def test_impossible_exposures_are_refused():
    with pytest.raises(ValueError, match="order of time"):
        lamp_light([(1, True), (0, False)], 0, 1, rise_s=1, decay_s=1)
    with pytest.raises(ValueError, match="positive"):
        lamp_light([], 0, 0, rise_s=1, decay_s=1)
