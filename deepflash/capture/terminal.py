"""A sitting held from a terminal: a client of the daemon, as the console page is one."""

import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from deepflash.capture.daemon import Address
from deepflash.errors import CaptureError
from deepflash.progress import Report, silent

_RETAKES = 3
_ANSWER_LIMIT_S = 600.0  # above what all retakes of a take can last; the daemon has shorter limits of its own
_PROBE_LIMIT_S = 2.0
_IDLE_LIMIT_S = 120.0

Ask = Callable[[str, int], str]
"""Called with the prompt and the number of the attempt; returns `shoot`, `retake`, `skip`, `undo` or `quit`."""


def read_address(url: str) -> Address:
    """Return the address that a daemon printed.

    Raises
    ------
    CaptureError
        if it is not one.

    >>> read_address("http://127.0.0.1:8765/#secret")
    Address(port=8765, token='secret')
    """
    found = re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(\d{1,5})/?#(\S+)", url)
    if not found:
        raise CaptureError("that is no daemon's address; give what it printed, such as http://127.0.0.1:8765/#TOKEN")
    return Address(int(found[1]), found[2])


def is_alive(address: Address) -> bool:
    """Say whether the daemon answers and accepts the token."""
    try:
        _ask(address, "/api/state", limit_s=_PROBE_LIMIT_S)
    except CaptureError:
        return False
    return True


def hold_session_at(
    address: Address,
    subject: str,
    poses: Sequence[str],
    *,
    consent: str | None = None,
    report: Report = silent,
    ask: Ask | None = None,
    retakes: int = _RETAKES,
) -> dict[str, Any]:
    """Hold a subject's session at a daemon; go on with the unfinished one of that plan if there is one.

    Parameters
    ----------
    address
        Of the daemon.
    subject, poses
        Who sits, and what is asked, in this order.
    consent
        Where the subject's consent is filed; None leaves what is known.
    report
        Called with the poses done, all poses, and a few words, after every take.
    ask
        Asks the operator before each shot; without it every pose is photographed at once, and given up when
        its retakes are used up.
    retakes
        How often a pose is repeated when nobody is asked.

    Returns
    -------
    dict
        The session as the API describes it; its `finish` is None if the operator quit.

    Raises
    ------
    CaptureError
        if the daemon cannot be reached or refuses; the sentence is its own.
    """
    _wait_until_idle(address)
    if consent is not None:
        _ask(address, "/api/subjects", {"id": subject, "consent": consent})
    session = _do(address, "", subject=subject, poses=list(poses))
    prompts = {pose["name"]: pose["prompt"] for pose in session["poses"]}
    tried: Counter[str] = Counter()
    _tell(report, session, "")
    while (pose := session["pose"]) is not None:
        action = "shoot" if ask is None else ask(prompts[pose], tried[pose] + 1)
        if action == "quit":
            return session
        try:
            session = _do(address, f"/{action}")
        except CaptureError as error:
            if ask is None:
                raise
            _tell(report, session, str(error))  # the operator mends it and goes on, or quits
            continue
        if action in {"shoot", "retake"}:
            _tell(report, session, _words(session["takes"][-1]))
            tried[pose] += 1
        if ask is None and session["pose"] == pose and tried[pose] > retakes:
            session = _do(address, "/skip", pose=pose)
    return _do(address, "/finish")


def _words(take: dict[str, Any]) -> str:
    return f"{take['pose']}: {'saved' if take['verdict'] == 'good' else take['reasons'][0]}"


def _tell(report: Report, session: dict[str, Any], note: str) -> None:
    report(len(session["pairs"]), len(session["poses"]), note)


def _do(address: Address, verb: str, **body: Any) -> dict[str, Any]:
    session: dict[str, Any] = _ask(address, f"/api/session{verb}", body)["session"]
    return session


def _wait_until_idle(address: Address) -> None:
    """Wait while a daemon that has just begun opens its rig."""
    until_s = time.monotonic() + _IDLE_LIMIT_S
    while _ask(address, "/api/state")["busy"] and time.monotonic() < until_s:
        time.sleep(0.1)


def _ask(address: Address, path: str, body: dict[str, Any] | None = None, limit_s: float = _ANSWER_LIMIT_S) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{address.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=limit_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise CaptureError(_sentence_in(error)) from error
    except (OSError, ValueError) as error:
        raise CaptureError(f"no daemon answers at port {address.port} ({error}); see whether it still runs") from error


def _sentence_in(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the daemon answered with status {error.code}"
