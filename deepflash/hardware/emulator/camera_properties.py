"""The emulated camera's settings and meters, as PTP device properties.

A property can be changed only where changing it changes the pictures: flash mode, exposure time and the clock.
"""

from datetime import datetime, timedelta
from enum import IntEnum

from deepflash.hardware.emulator.ptp import DataType, Property, PropertyCode, Value

MAKER = "deepflash"
MODEL = "deepflash emulated camera"
ISO = 100
F_NUMBER = 4.0
FULL_LIGHT_EXPOSURE_S = 0.0166
"""At this exposure time (and ISO 100, f/4) the lamps' full light exposes a picture rightly."""

_CLOCK = "%Y%m%dT%H%M%S"


class FlashMode(IntEnum):
    """When the flash fires (ISO 15740, 13.5.13)."""

    AUTOMATIC = 1
    OFF = 2
    FILL = 3


EXPOSURE_TIMES = (10, 20, 40, 80, 166, 333, 666)  # 1/10000 s: 1/1000 s to 1/15 s


def known_properties(size: tuple[int, int]) -> dict[PropertyCode, Property]:
    """Return the properties of a camera that takes pictures of `size` (width, height)."""
    picture_size = f"{size[0]}x{size[1]}"
    automatic_white, manual_exposure, single_shot = 2, 1, 1
    properties = (
        Property(PropertyCode.BATTERY_LEVEL, DataType.UINT8, 100, range(0, 101, 1)),
        Property(PropertyCode.IMAGE_SIZE, DataType.STRING, picture_size, [picture_size]),
        Property(PropertyCode.WHITE_BALANCE, DataType.UINT16, automatic_white, [automatic_white]),
        Property(PropertyCode.F_NUMBER, DataType.UINT16, round(F_NUMBER * 100), [round(F_NUMBER * 100)]),
        Property(PropertyCode.FLASH_MODE, DataType.UINT16, FlashMode.AUTOMATIC, list(FlashMode), writable=True),
        Property(PropertyCode.EXPOSURE_TIME, DataType.UINT32, 166, EXPOSURE_TIMES, writable=True),
        Property(PropertyCode.EXPOSURE_PROGRAM_MODE, DataType.UINT16, manual_exposure, [manual_exposure]),
        Property(PropertyCode.EXPOSURE_INDEX, DataType.UINT16, ISO, [ISO]),
        Property(PropertyCode.DATE_TIME, DataType.STRING, "", writable=True),
        Property(PropertyCode.STILL_CAPTURE_MODE, DataType.UINT16, single_shot, [single_shot]),
    )
    return {known.code: known for known in properties}


class Settings:
    """The current values. KeyError means that there is no such property."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.known = known_properties(size)
        self._values: dict[PropertyCode, Value] = {code: known.default for code, known in self.known.items()}
        self._clock_offset = timedelta()

    @property
    def flash_mode(self) -> FlashMode:
        return FlashMode(int(self._values[PropertyCode.FLASH_MODE]))

    @property
    def exposure_s(self) -> float:
        return int(self._values[PropertyCode.EXPOSURE_TIME]) / 10_000

    @property
    def clock(self) -> datetime:
        """What the camera's own clock says; it has no time zone, as cameras have not."""
        return datetime.now() + self._clock_offset

    def get(self, code: PropertyCode) -> Value:
        """Return a property's current value."""
        return self.clock.strftime(_CLOCK) if code == PropertyCode.DATE_TIME else self._values[code]

    def set(self, code: PropertyCode, value: Value) -> None:
        """Change a writable property; ValueError if it may not be that."""
        if code == PropertyCode.DATE_TIME:
            wanted = datetime.strptime(str(value)[:15], _CLOCK)  # tenths and zone may follow; dropped
            self._clock_offset = wanted - datetime.now()
            return
        choices = self.known[code].choices
        if choices is not None and value not in choices:
            raise ValueError(f"{code.name} cannot be {value}")
        self._values[code] = value
