"""PTP data sets, against bytes written down from ISO 15740."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.hardware.emulator.ptp import (
    DataType,
    DeviceInfo,
    EventCode,
    FormatCode,
    ObjectInfo,
    OperationCode,
    Property,
    PropertyCode,
    StorageInfo,
    decode_string,
    decode_value,
    encode_array,
    encode_string,
    encode_value,
)


def test_a_string_is_counted_in_units_with_its_closing_zero() -> None:
    assert encode_string("DCIM") == bytes.fromhex("05 44 00 43 00 49 00 4D 00 00 00")
    assert encode_string("") == b"\x00"


@given(st.text(max_size=120).filter(lambda text: "\0" not in text))
def test_strings_survive_the_round_trip(text: str) -> None:
    assert decode_string(encode_string(text)) == text


@pytest.mark.parametrize("damaged", ["", "02 41 00", "02 41 00 42 00", "01 00"])
def test_a_damaged_string_is_refused(damaged: str) -> None:
    with pytest.raises(ValueError, match="not a PTP string"):
        decode_string(bytes.fromhex(damaged))


def test_a_string_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 254"):
        encode_string("x" * 255)


def test_an_array_begins_with_its_count() -> None:
    assert encode_array("I", [0x00010001]) == bytes.fromhex("01 00 00 00 01 00 01 00")


@pytest.mark.parametrize(
    ("kind", "value", "content"),
    [
        (DataType.UINT8, 100, "64"),
        (DataType.UINT16, 3, "03 00"),
        (DataType.UINT32, 166, "A6 00 00 00"),
        (DataType.STRING, "A", "02 41 00 00 00"),
    ],
)
def test_values_are_little_endian(kind: DataType, value: int | str, content: str) -> None:
    assert encode_value(kind, value) == bytes.fromhex(content)
    assert decode_value(kind, bytes.fromhex(content)) == value


def test_a_value_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="UINT16"):
        decode_value(DataType.UINT16, b"\x01")


def test_device_info_follows_the_standard() -> None:
    info = DeviceInfo("m", "c", "1", "s", [OperationCode.GET_DEVICE_INFO], [EventCode.OBJECT_ADDED], [PropertyCode.FLASH_MODE])
    expected = (
        "64 00  00 00 00 00  00 00  00  00 00"  # version 1.00, no vendor extension, standard mode
        "01 00 00 00 01 10  01 00 00 00 02 40  01 00 00 00 0C 50"  # operations, events, properties
        "01 00 00 00 01 38  02 00 00 00 01 30 01 38"  # captures EXIF/JPEG; holds folders and EXIF/JPEG
        "02 6D 00 00 00  02 63 00 00 00  02 31 00 00 00  02 73 00 00 00"
    )
    assert info.encode() == bytes.fromhex(expected)


def test_storage_info_follows_the_standard() -> None:
    expected = "04 00 03 00 00 00  00 01 00 00 00 00 00 00  80 00 00 00 00 00 00 00  02 00 00 00  02 64 00 00 00  00"
    assert StorageInfo(256, 128, 2, "d", "").encode() == bytes.fromhex(expected)


def test_object_info_of_a_picture_follows_the_standard() -> None:
    picture = ObjectInfo(0x00010001, FormatCode.EXIF_JPEG, "A", 100, 5, 3, (160, 120), (640, 480), 9, "B")
    expected = (
        "01 00 01 00  01 38  00 00  05 00 00 00"  # storage, format, protection, size
        "01 38  03 00 00 00  A0 00 00 00  78 00 00 00"  # thumbnail: format, size, width, height
        "80 02 00 00  E0 01 00 00  18 00 00 00"  # picture: width, height, depth
        "64 00 00 00  00 00  00 00 00 00  09 00 00 00"  # parent, association, its description, sequence number
        "02 41 00 00 00  02 42 00 00 00  02 42 00 00 00  00"  # name, captured, modified, keywords
    )
    assert picture.encode() == bytes.fromhex(expected)


def test_object_info_of_a_folder_is_a_generic_folder() -> None:
    folder = ObjectInfo(0x00010001, FormatCode.ASSOCIATION, "DCIM", 0).encode()
    assert folder[4:6] == bytes.fromhex("01 30")
    assert folder[42:44] == bytes.fromhex("01 00")


def test_an_enumerated_property_lists_its_choices() -> None:
    flash = Property(PropertyCode.FLASH_MODE, DataType.UINT16, 1, [1, 2, 3], writable=True)
    assert flash.encode(3) == bytes.fromhex("0C 50 04 00 01  01 00 03 00  02 03 00  01 00 02 00 03 00")


def test_a_ranged_property_gives_its_bounds_and_step() -> None:
    battery = Property(PropertyCode.BATTERY_LEVEL, DataType.UINT8, 100, range(0, 101, 1))
    assert battery.encode(80) == bytes.fromhex("01 50 02 00 00  64 50  01 00 64 01")


def test_a_free_property_has_no_form() -> None:
    clock = Property(PropertyCode.DATE_TIME, DataType.STRING, "", writable=True)
    assert clock.encode("A") == bytes.fromhex("11 50 FF FF 01  00  02 41 00 00 00  00")
