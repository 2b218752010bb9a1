"""The lamps' light through a shutter: the model of a calibration's measurements, and its fit.

Convention: `delay_s` is the time from the lamps' switching to the camera's trigger; negative if the trigger came
first. The shutter opens `lag_s` after the trigger and stays open for the exposure time. Light is relative to the
lamps' full light.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepflash.errors import CaptureError

Floats = NDArray[np.float64]

_TAUS_S = np.geomspace(0.002, 3.0, 40)
_LAG_STEP_S = 0.01
_LEAST_CHANGE = 0.5  # of full light; with less, the lamps were not seen to go out
_FEWEST = 6
_REWEIGHTINGS = 8
_NOISE = 0.002  # of full light, that one photograph's light may always be wrong by


@dataclass(frozen=True)
class Measurement:
    """The light in one photograph: when it was triggered, and how bright it was relative to full light."""

    delay_s: float
    light: float


@dataclass(frozen=True)
class Fit:
    """What follows from the measurements around the lamps' switching off; `*_error_s` is one standard deviation.

    Attributes
    ----------
    tau_s
        Time constant of the decay.
    lag_s
        From the trigger to the shutter's opening, less the time that the relay takes.
    floor
        Light that stays when the lamps are out, relative to their full light.
    residual
        Root mean square of what the fit leaves unexplained, outliers counted less, relative to full light.
    """

    tau_s: float
    tau_error_s: float
    lag_s: float
    lag_error_s: float
    floor: float
    residual: float


def fit_decay(measurements: Sequence[Measurement], exposure_s: float) -> Fit:
    """Fit an exponential decay behind a shutter to measurements around the lamps' switching off.

    Raises
    ------
    CaptureError
        if there are fewer than 6, or the light does not fall to less than half within them.
    """
    delays = np.array([measurement.delay_s for measurement in measurements])
    light = np.array([measurement.light for measurement in measurements])
    if len(delays) < _FEWEST or np.ptp(light) < _LEAST_CHANGE:
        raise CaptureError(
            "the lamps' light was not seen to go out; check that the lamps hang on the rig's relay, that the camera's "
            "exposure is manual, and that the flash and other light are off"
        )

    def predicted(values: Floats) -> Floats:
        tau, lag, full, floor = values
        return np.asarray(floor + (full - floor) * mean_light(delays + lag, exposure_s, math.exp(tau)))

    values, errors, residual = _robust(predicted, light, _best_of_grid(delays, light, exposure_s))
    tau_s = math.exp(values[0])
    tau_error_s, lag_error_s = tau_s * float(errors[0]), float(errors[1])
    return Fit(tau_s, tau_error_s, float(values[1]), lag_error_s, float(values[3]), residual)


def mean_light(opening_s: Floats, exposure_s: float, tau_s: float) -> Floats:
    """Return the mean light over exposures that open `opening_s` after the lamps were switched off."""

    def collected(until_s: Floats) -> Floats:  # since the switching off; negative before it
        after = np.maximum(until_s, 0)
        return np.asarray(np.minimum(until_s, 0) - tau_s * np.expm1(-after / tau_s))

    return np.asarray((collected(opening_s + exposure_s) - collected(opening_s)) / exposure_s)


def settle_for(tau_s: float, fraction: float) -> float:
    """Return how long after switching off the lamps' light has fallen to this fraction of full light, in seconds.

    Examples
    --------
    >>> round(settle_for(0.1, 0.01), 3)
    0.461
    """
    return tau_s * math.log(1 / fraction)


def _best_of_grid(delays: Floats, light: Floats, exposure_s: float) -> Floats:
    """Try many time constants and lags; full light and floor follow from each by linear regression."""
    best, start = math.inf, np.zeros(4)
    for lag in np.arange(-0.05, max(0.1, -float(delays.min())) + exposure_s, _LAG_STEP_S):
        for tau in _TAUS_S:
            shape = mean_light(delays + lag, exposure_s, float(tau))
            basis = np.stack([shape, 1 - shape], axis=1)
            levels = np.linalg.lstsq(basis, light, rcond=None)[0]
            error = float(np.sum((basis @ levels - light) ** 2))
            if error < best:
                best, start = error, np.array([math.log(tau), lag, *levels])
    return start


def _robust(predicted: Callable[[Floats], Floats], light: Floats, start: Floats) -> tuple[Floats, Floats, float]:
    """Fit with Huber's weights, so that a trigger that was held up counts less; also return standard errors and residual."""
    values, weights = start, np.ones_like(light)
    for _ in range(_REWEIGHTINGS):
        values = _least_squares(predicted, light, weights, values)
        wrong = np.abs(light - predicted(values))
        usual = max(_NOISE, 1.4826 * float(np.median(wrong)))
        weights = np.minimum(1.0, 1.345 * usual / np.maximum(wrong, 1e-12))
    error = float(np.sum(weights * (light - predicted(values)) ** 2))
    scatter = max(error / max(1, len(light) - len(values)), _NOISE**2)
    slopes = _slopes(predicted, values)
    errors = np.sqrt(np.abs(np.diag(np.linalg.pinv((slopes.T * weights) @ slopes))) * scatter)
    return values, errors, math.sqrt(error / float(np.sum(weights)))


def _least_squares(predicted: Callable[[Floats], Floats], light: Floats, weights: Floats, start: Floats) -> Floats:
    """Minimise the weighted squares by Levenberg and Marquardt's method."""
    values, damping = start, 1e-3
    error = float(np.sum(weights * (light - predicted(values)) ** 2))
    for _ in range(200):
        slopes = _slopes(predicted, values)
        normal = (slopes.T * weights) @ slopes
        downhill = (slopes.T * weights) @ (light - predicted(values))
        step = np.linalg.lstsq(normal + damping * np.diag(np.diag(normal) + 1e-12), downhill, rcond=None)[0]
        tried = values + step
        tried_error = float(np.sum(weights * (light - predicted(tried)) ** 2))
        if tried_error < error:
            values, error, damping = tried, tried_error, damping / 5
        else:
            damping *= 5
        if damping > 1e9 or np.max(np.abs(step)) < 1e-10:
            break
    return values


def _slopes(predicted: Callable[[Floats], Floats], values: Floats) -> Floats:
    steps = 1e-5 * np.eye(len(values))
    return np.stack([(predicted(values + step) - predicted(values - step)) / 2e-5 for step in steps], axis=1)
