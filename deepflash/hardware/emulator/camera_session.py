"""The emulated camera's answers to PTP operations: the border between the protocol and the camera body."""

from collections.abc import Callable
from typing import Protocol

from deepflash.hardware.emulator.camera_card import STORAGE, Card, format_of, is_folder
from deepflash.hardware.emulator.camera_properties import MAKER, MODEL, Settings
from deepflash.hardware.emulator.faults import Faults
from deepflash.hardware.emulator.journal import Journal
from deepflash.hardware.emulator.ptp import (
    ALL,
    DeviceInfo,
    EventCode,
    FormatCode,
    ObjectInfo,
    OperationCode,
    PropertyCode,
    ResponseCode,
    decode_value,
    encode_array,
    encode_value,
)
from deepflash.hardware.emulator.responder import Delivery, Reply

_Operation = Callable[["CameraSession", tuple[int, ...], bytes], Reply]
_WITHOUT_SESSION = {OperationCode.GET_DEVICE_INFO, OperationCode.OPEN_SESSION}


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The camera answers an operation with another code than OK."""

    def __init__(self, code: ResponseCode) -> None:
        super().__init__(code.name)
        self.code = code


class Body(Protocol):
    """What the session needs of the camera."""

    card: Card
    settings: Settings
    serial_number: str
    faults: Faults

    def press_shutter(self, transaction: int) -> None:
        """Take an exposure now; Refusal if that is impossible."""

    def suffer_the_dial(self) -> None:
        """Have a setting changed by hand, if that fault strikes."""


class CameraSession:
    """One client's conversation with the camera. Every operation goes into the journal."""

    def __init__(self, body: Body, journal: Journal, clock: Callable[[], float]) -> None:
        self.body = body
        self.is_open = False
        self.transaction = 0
        self._journal = journal
        self._clock = clock

    def perform(self, code: int, transaction: int, params: tuple[int, ...], data: bytes) -> Reply:
        """Carry out an operation; what is unknown, impossible or malformed is refused with PTP's code for it."""
        at_s = self._clock()
        self.transaction = transaction
        self.body.suffer_the_dial()
        if self.body.faults.strikes("silent"):
            return Reply(delivery=Delivery.WITHHELD)
        try:
            reply = self._dispatch(code, params, data)
        except Refusal as refusal:
            reply = Reply(refusal.code)
        self._record(at_s, code, params, reply)
        return reply

    def _dispatch(self, code: int, params: tuple[int, ...], data: bytes) -> Reply:
        operation = _OPERATIONS.get(code)
        if operation is None:
            raise Refusal(ResponseCode.OPERATION_NOT_SUPPORTED)
        if not self.is_open and code not in _WITHOUT_SESSION:
            raise Refusal(ResponseCode.SESSION_NOT_OPEN)
        return operation(self, params + (0,) * (5 - len(params)), data)  # parameters left out are zero

    def _record(self, at_s: float, code: int, params: tuple[int, ...], reply: Reply) -> None:
        name = OperationCode(code).name if code in _OPERATIONS else f"0x{code:04X}"
        size = {} if reply.data is None else {"bytes": len(reply.data)}
        record = {"at_s": at_s, "operation": name, "params": list(params), "response": reply.code.name}
        self._journal.append(record | size)


def _get_device_info(session: CameraSession, _params: tuple[int, ...], _data: bytes) -> Reply:
    info = DeviceInfo(
        manufacturer=MAKER,
        model=MODEL,
        version="1.0",
        serial_number=session.body.serial_number,
        operations=[OperationCode(code) for code in _OPERATIONS],
        events=list(EventCode),
        properties=list(session.body.settings.known),
    )
    return Reply(data=info.encode())


def _open_session(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    if session.is_open:
        raise Refusal(ResponseCode.SESSION_ALREADY_OPEN)
    if params[0] == 0:
        raise Refusal(ResponseCode.INVALID_PARAMETER)
    session.is_open = True
    return Reply()


def _close_session(session: CameraSession, _params: tuple[int, ...], _data: bytes) -> Reply:
    session.is_open = False
    return Reply()


def _get_storage_ids(_session: CameraSession, _params: tuple[int, ...], _data: bytes) -> Reply:
    return Reply(data=encode_array("I", [STORAGE]))


def _get_storage_info(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    if params[0] != STORAGE:
        raise Refusal(ResponseCode.INVALID_STORAGE_ID)
    return Reply(data=session.body.card.storage_info().encode())


def _get_num_objects(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    return Reply(params=(len(_listed(session, params)),))


def _get_object_handles(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    return Reply(data=encode_array("I", _listed(session, params)))


def _listed(session: CameraSession, params: tuple[int, ...]) -> list[int]:
    """Return the handles that (storage, format, parent) ask for."""
    storage, wanted_format, parent = params[:3]
    if storage not in (STORAGE, ALL):
        raise Refusal(ResponseCode.INVALID_STORAGE_ID)
    card = session.body.card
    if parent not in (0, ALL):
        _info(session, parent)
    handles = card.handles({0: None, ALL: 0}.get(parent, parent))
    return [handle for handle in handles if not wanted_format or _has_format(handle, wanted_format)]


def _has_format(handle: int, wanted: int) -> bool:
    return wanted == (FormatCode.ASSOCIATION if is_folder(handle) else format_of(handle))


def _get_object_info(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    return Reply(data=_info(session, params[0]).encode())


def _info(session: CameraSession, handle: int) -> ObjectInfo:
    try:
        return session.body.card.info(handle)
    except KeyError:
        raise Refusal(ResponseCode.INVALID_OBJECT_HANDLE) from None


def _get_object(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    content = _content(session, params[0])
    faults = session.body.faults
    if faults.strikes("garbled"):
        third = len(content) // 3
        content = content[:third] + bytes(third) + content[2 * third :]
    if stalled := faults.strikes("stalled"):
        return Reply(data=content, delivery=Delivery.STALLED, stall_s=stalled.value)
    for kind, delivery in (("cut", Delivery.CUT), ("truncated", Delivery.SHORT)):
        if faults.strikes(kind):
            return Reply(data=content, delivery=delivery)
    return Reply(data=content)


def _get_partial_object(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    handle, start, length = params[:3]
    content = _content(session, handle)
    if start > len(content):
        raise Refusal(ResponseCode.INVALID_PARAMETER)
    piece = content[start:] if length == ALL else content[start : start + length]
    return Reply(params=(len(piece),), data=piece)


def _content(session: CameraSession, handle: int) -> bytes:
    try:
        return session.body.card.read(handle)
    except KeyError:
        raise Refusal(ResponseCode.INVALID_OBJECT_HANDLE) from None


def _get_thumb(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    _info(session, params[0])
    if is_folder(params[0]):
        raise Refusal(ResponseCode.NO_THUMBNAIL_PRESENT)
    return Reply(data=session.body.card.thumbnail(params[0]))


def _delete_object(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    card, handle = session.body.card, params[0]
    if handle == ALL:
        for picture in card.handles():
            if not is_folder(picture):
                card.delete(picture)
        return Reply()
    _info(session, handle)
    if is_folder(handle):
        raise Refusal(ResponseCode.OBJECT_WRITE_PROTECTED)
    card.delete(handle)
    return Reply()


def _initiate_capture(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    if params[0] not in (0, STORAGE):
        raise Refusal(ResponseCode.INVALID_STORAGE_ID)
    faults = session.body.faults
    if faults.strikes("unanswered"):
        return Reply(delivery=Delivery.WITHHELD)
    if faults.strikes("dropped"):
        return Reply(delivery=Delivery.BROKEN_OFF)
    session.body.press_shutter(session.transaction)
    return Reply(delivery=Delivery.BROKEN_OFF if faults.strikes("dropped-after") else Delivery.WHOLE)


def _get_device_prop_desc(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    code = _property(params[0])
    settings = session.body.settings
    return Reply(data=settings.known[code].encode(settings.get(code)))


def _get_device_prop_value(session: CameraSession, params: tuple[int, ...], _data: bytes) -> Reply:
    code = _property(params[0])
    settings = session.body.settings
    return Reply(data=encode_value(settings.known[code].type, settings.get(code)))


def _set_device_prop_value(session: CameraSession, params: tuple[int, ...], data: bytes) -> Reply:
    code = _property(params[0])
    settings = session.body.settings
    if not settings.known[code].writable:
        raise Refusal(ResponseCode.ACCESS_DENIED)
    try:
        value = decode_value(settings.known[code].type, data)
    except ValueError:
        raise Refusal(ResponseCode.INVALID_DEVICE_PROP_FORMAT) from None
    try:
        settings.set(code, value)
    except ValueError:
        raise Refusal(ResponseCode.INVALID_DEVICE_PROP_VALUE) from None
    return Reply()


def _property(number: int) -> PropertyCode:
    try:
        return PropertyCode(number)
    except ValueError:
        raise Refusal(ResponseCode.DEVICE_PROP_NOT_SUPPORTED) from None


_OPERATIONS: dict[int, _Operation] = {
    OperationCode.GET_DEVICE_INFO: _get_device_info,
    OperationCode.OPEN_SESSION: _open_session,
    OperationCode.CLOSE_SESSION: _close_session,
    OperationCode.GET_STORAGE_IDS: _get_storage_ids,
    OperationCode.GET_STORAGE_INFO: _get_storage_info,
    OperationCode.GET_NUM_OBJECTS: _get_num_objects,
    OperationCode.GET_OBJECT_HANDLES: _get_object_handles,
    OperationCode.GET_OBJECT_INFO: _get_object_info,
    OperationCode.GET_OBJECT: _get_object,
    OperationCode.GET_THUMB: _get_thumb,
    OperationCode.DELETE_OBJECT: _delete_object,
    OperationCode.INITIATE_CAPTURE: _initiate_capture,
    OperationCode.GET_DEVICE_PROP_DESC: _get_device_prop_desc,
    OperationCode.GET_DEVICE_PROP_VALUE: _get_device_prop_value,
    OperationCode.SET_DEVICE_PROP_VALUE: _set_device_prop_value,
    OperationCode.GET_PARTIAL_OBJECT: _get_partial_object,
}
