"""Faults of the emulated devices: ordered by tests and benchmarks, suffered by the relay board and the camera.

An order is a line of `STUDIO/faults.jsonl`; the devices read what is appended while they run, and write a line into
`STUDIO/strikes-<device>.jsonl` whenever a fault has struck, so that an experiment knows what it really did. Anybody
may order; an order that was given before a device started does not concern it.

    order_fault(studio, Fault("camera", "busy", skip=1))          # the second trigger from now on is refused
    order_fault(studio, Fault("camera", "late", value=0.3))       # the next photograph is announced 0.3 s late
    order_fault(studio, Fault("relay", "deaf", for_s=0.5))        # the board obeys nothing for half a second
"""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deepflash.hardware.emulator.journal import Journal

KINDS = {
    "camera": {
        "busy": "refuses a trigger, as it does while it stores",
        "dropped": "breaks the connection off at a trigger, without an exposure",
        "dropped-after": "takes the exposure, then breaks the connection off",
        "unanswered": "never answers a trigger, and takes no exposure",
        "stalled": "stops in the middle of a photograph's transfer, for `value` seconds",
        "cut": "breaks the connection off in the middle of a photograph's transfer",
        "truncated": "sends a photograph shorter than it announced",
        "garbled": "sends a photograph with its middle overwritten",
        "card-full": "refuses a trigger because the card is full",
        "card-full-event": "finds the card full when it stores the photograph, and says so by an event",
        "lost": "takes the exposure, and neither stores nor announces it",
        "unannounced": "stores the photograph and never announces it",
        "late": "announces the photograph `value` seconds late",
        "duplicate": "announces the photograph twice",
        "incomplete": "announces the photograph and never the end of the capture",
        "half-stored": "stores only the first half of the photograph",
        "pressed": "takes one more exposure by itself after a trigger: somebody pressed the button",
        "refuses": "refuses a new connection",
        "silent": "answers no operation at all",
        "drift": "has its exposure time changed to `value` (1/10000 s): somebody turned the dial",
        "flash-off": "does not fire its flash at a shot that should have it",
    },
    "relay": {
        "unplugged": "is gone from the bus for `for_s`, its relays fallen open",
        "deaf": "obeys nothing",
        "mute": "obeys, but answers nothing",
    },
}
"""What each device can suffer. An occasion is whatever the sentence begins with: a trigger, a transfer, an operation."""

_ORDERS = "faults.jsonl"


@dataclass(frozen=True)
class Fault:
    """An order.

    Attributes
    ----------
    device, kind
        See `KINDS`.
    times
        On how many occasions it strikes; not used with `for_s`.
    skip
        How many occasions it passes over first.
    for_s
        Strikes on every occasion within so many seconds of the order.
    value
        The kind's own parameter.
    at_s
        When it was ordered, on CLOCK_MONOTONIC; `order_fault` sets it.
    """

    device: str
    kind: str
    times: int = 1
    skip: int = 0
    for_s: float | None = None
    value: float = 0.0
    at_s: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS.get(self.device, {}):
            known = [f"{device} {kind}" for device, kinds in KINDS.items() for kind in kinds]
            raise ValueError(f"no emulated device suffers {self.device} {self.kind}; known are {', '.join(known)}")

    @property
    def end_s(self) -> float:
        """When it ends on CLOCK_MONOTONIC; infinite for a fault that is counted in occasions."""
        return float("inf") if self.for_s is None else self.at_s + self.for_s


def order_fault(studio: Path, fault: Fault) -> None:
    """Order a fault of a device of the studio in that folder."""
    _append(studio, asdict(replace(fault, at_s=time.monotonic())))


def clear_faults(studio: Path) -> None:
    """End all faults that have been ordered and have not struck, or last."""
    _append(studio, {"clear": True})


def _append(studio: Path, order: dict[str, object]) -> None:
    """Append a line by one write, so that readers see it whole and several may order at once."""
    descriptor = os.open(studio / _ORDERS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, json.dumps(order).encode() + b"\n")
    finally:
        os.close(descriptor)


class Faults:
    """The faults of one device, in the device's process. Looking costs a few microseconds. Safe to use from several threads.

    Parameters
    ----------
    studio
        The emulated studio's folder.
    device
        `camera` or `relay`.
    """

    def __init__(self, studio: Path, device: str) -> None:
        self._device = device
        self._path = studio / _ORDERS
        self._read_bytes = self._path.stat().st_size if self._path.exists() else 0
        self._pending: list[Fault] = []
        self._lock = threading.Lock()
        self._strikes = Journal(studio / f"strikes-{device}.jsonl")

    def strikes(self, kind: str) -> Fault | None:
        """Tell that an occasion for this kind has come; return the fault that strikes, if one does.

        A fault of `times` is used up by it. Every strike is journalled.
        """
        with self._lock:
            self._read_orders()
            now_s = time.monotonic()
            place = next((place for place, fault in enumerate(self._pending) if fault.kind == kind), None)
            if place is None:
                return None
            fault = self._pending[place]
            if fault.skip:  # the earliest order decides; later ones of its kind wait their turn
                self._pending[place] = replace(fault, skip=fault.skip - 1)
                return None
            if fault.for_s is None:
                self._pending[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
        self._strikes.append({"at_s": now_s, "kind": kind, "value": fault.value})
        return fault

    def lasting(self, kind: str) -> Fault | None:
        """Return the fault of this kind and `for_s` that lasts now, without an occasion or a journal entry.

        For a device that must notice by itself, such as a board that is unplugged; call it some 50 times a second.
        """
        with self._lock:
            self._read_orders()
            return next((fault for fault in self._pending if fault.kind == kind and fault.for_s is not None), None)

    def _read_orders(self) -> None:
        """Take up new orders, and drop those whose time is over."""
        if self._path.exists() and self._path.stat().st_size > self._read_bytes:
            self._read_new_orders()
        now_s = time.monotonic()
        self._pending = [fault for fault in self._pending if now_s <= fault.end_s]

    def _read_new_orders(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            *lines, torn = file.read().split(b"\n")
            self._read_bytes = file.tell() - len(torn)
        for order in map(json.loads, lines):
            if "clear" in order:
                self._pending.clear()
            elif order["device"] == self._device:
                self._pending.append(Fault(**order))
