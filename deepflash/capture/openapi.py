"""The daemon's JSON API, described once: the routes are made from this table, and so is the OpenAPI document."""

from dataclasses import dataclass, field
from typing import Any

from deepflash import __version__

TEXT, TEXTS = "string", "array"


@dataclass(frozen=True)
class Field:
    """A field of a request's JSON body: a text, or a list of texts."""

    kind: str
    what: str
    required: bool = False


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    Attributes
    ----------
    name
        Unique; the daemon has a handler of that name.
    answers
        Media type of a good answer.
    command
        The desk's command that a POST is, if it is one.
    """

    method: str
    path: str
    name: str
    summary: str
    body: dict[str, Field] = field(default_factory=dict)
    answers: str = "application/json"
    command: str = ""


_POSE = Field(TEXT, "The pose that is meant; refused if the session is at another one.")

OPERATIONS = (
    Operation("GET", "/api/state", "state", "How things stand: rig, lamps, session, takes, the last message."),
    Operation(
        "GET",
        "/api/events",
        "events",
        "The state as server-sent events: at every change, and once a second.",
        answers="text/event-stream",
    ),
    Operation("GET", "/api/subjects", "subjects", "The subjects of the raw tree."),
    Operation(
        "POST",
        "/api/subjects",
        "add_subject",
        "Add a subject, or change where its consent is filed.",
        {
            "id": Field(TEXT, "Pseudonymous id such as S001; never a name.", required=True),
            "consent": Field(TEXT, "Where the signed consent is filed, such as a form's number."),
        },
    ),
    Operation(
        "GET",
        "/api/takes/{take}/{light}",
        "picture",
        "A photograph of a take of the open session, small: light is studio or flash.",
        answers="image/jpeg",
    ),
    Operation("GET", "/api/pictograms/{pose}", "pictogram", "The pictogram of a pose in the plan.", answers="image/*"),
    Operation("POST", "/api/rig/connect", "connect", "Open the rig, or get its devices back.", command="connect"),
    Operation(
        "POST",
        "/api/session",
        "start",
        "Open a subject's session: the unfinished one of that plan, or a new one.",
        {
            "subject": Field(TEXT, "Id of the subject.", required=True),
            "poses": Field(TEXTS, "What to ask for; the daemon's plan if not given."),
        },
        command="start",
    ),
    Operation(
        "POST", "/api/session/shoot", "shoot", "Photograph the pose, check and save it.", {"pose": _POSE}, command="shoot"
    ),
    Operation("POST", "/api/session/retake", "retake", "Photograph the last take's pose again.", command="retake"),
    Operation(
        "POST",
        "/api/session/go",
        "go",
        "Choose what the next shot is of.",
        {"pose": Field(TEXT, "A pose of the session.", required=True)},
        command="go",
    ),
    Operation("POST", "/api/session/skip", "skip", "Leave the pose out.", {"pose": _POSE}, command="skip"),
    Operation("POST", "/api/session/undo", "undo", "Take back the last good take or skip.", command="undo"),
    Operation("POST", "/api/session/pause", "pause", "Refuse shots until resumed.", command="pause"),
    Operation("POST", "/api/session/resume", "resume", "Go on after a pause.", command="resume"),
    Operation(
        "POST",
        "/api/session/finish",
        "finish",
        "End the session for good.",
        {"reason": Field(TEXT, "Why it ends, for the journal.")},
        command="finish",
    ),
)

_BOOLEAN, _STRING, _INTEGER = {"type": "boolean"}, {"type": "string"}, {"type": "integer"}
_NAMES = {"type": "array", "items": _STRING}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_TAKE = _object(
    {
        "take": _STRING,
        "pose": _STRING,
        "verdict": _one_of("good", "rejected", "failed"),
        "reasons": {**_NAMES, "description": "Why it was not kept, one sentence each, with what to do."},
        "warnings": {**_NAMES, "description": "What to look at although it was kept."},
        "apparatus": {**_BOOLEAN, "description": "A device or the clock was the cause."},
        "kept": {**_BOOLEAN, "description": "It is its pose's pair now."},
        "pictures": {**_BOOLEAN, "description": "/api/takes/{take}/studio and .../flash answer."},
    }
)
_SESSION = _object(
    {
        "subject": _STRING,
        "session": _STRING,
        "consent": _STRING,
        "pose": {**_or_null(_STRING), "description": "What the next shot is of; null when every pose is done."},
        "poses": {
            "type": "array",
            "items": _object(
                {"name": _STRING, "prompt": _STRING, "pictogram": _BOOLEAN, "status": _one_of("open", "done", "skipped")}
            ),
        },
        "takes": {"type": "array", "items": _TAKE},
        "pairs": {"type": "array", "items": _object({"id": _STRING, "pose": _STRING, "take": _STRING, "folder": _STRING})},
        "missing": _NAMES,
        "orphans": {**_NAMES, "description": "Photographs of failed takes that were left on the camera's card."},
        "mirror_fault": {**_STRING, "description": "Why the second copy is behind; empty if it is not."},
        "can_undo": _BOOLEAN,
        "paused": _BOOLEAN,
        "current_take": {**_STRING, "description": "The take that is being made; empty if none is."},
        "finish": _or_null(_one_of("complete", "incomplete")),
        "finish_reason": _STRING,
    }
)
STATE = _object(
    {
        "revision": {**_INTEGER, "description": "Grows with every change."},
        "phase": _one_of(
            "closed", "opening", "ready", "photographing", "checking", "saving", "recovering", "paused", "finished"
        ),
        "busy": {**_BOOLEAN, "description": "Something is being done; commands are refused with 409."},
        "message": _object({"kind": _one_of("info", "busy", "good", "bad", "warning", "fault"), "text": _STRING}),
        "emulated": _BOOLEAN,
        "lamps": _object(
            {
                "connected": _BOOLEAN,
                "heartbeat": {**_BOOLEAN, "description": "The lamp guard answers its beat."},
                "on": {**_or_null(_BOOLEAN), "description": "The last command written to the board; null if unknown."},
                "seen_on": {**_or_null(_BOOLEAN), "description": "What the board says itself; null where it cannot tell."},
                "fault": {**_STRING, "description": "What is wrong with the board or its guard; empty if nothing is."},
            }
        ),
        "camera": _object({"connected": _BOOLEAN, "name": _STRING, "battery": _STRING}),
        "plan": {"type": "array", "items": _object({"name": _STRING, "prompt": _STRING})},
        "mirror": _or_null(_object({"root": _STRING, "fault": _STRING})),
        "session": _or_null({"$ref": "#/components/schemas/Session"}),
    }
)
_SUBJECT = _object({"id": _STRING, "consent": _STRING, "sessions": _INTEGER, "pairs": _INTEGER, "unfinished": _NAMES})
_REFUSALS = {
    "401": "The token is missing or wrong.",
    "403": "Asked from another host or page.",
    "409": "Something else is being done, or it makes no sense now.",
    "422": "The request is not as described.",
    "503": "A device failed; the sentence says what to do.",
    "507": "The disk refuses.",
}


def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "deepflash capture daemon",
            "version": __version__,
            "description": "Holds sittings at a capture rig. Loopback only; every path but this one wants the token.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "State": STATE,
                "Session": _SESSION,
                "Subject": _SUBJECT,
                "Error": _object({"error": {**_STRING, "description": "One sentence: what is wrong and what to do."}}),
            },
        },
    }


def _describe(operation: Operation) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": "#/components/schemas/State"}
    if operation.name in {"subjects", "add_subject"}:
        schema = {"type": "array", "items": {"$ref": "#/components/schemas/Subject"}}
    answer = {"description": "Done.", "content": {operation.answers: {"schema": schema} if "json" in operation.answers else {}}}
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    content: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": answer,
            **{code: {"description": why, "content": refusal} for code, why in _REFUSALS.items()},
        },
    }
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    if names:
        content["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _STRING} for name in names]
    if operation.method == "POST":
        content["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(operation)}}}
    return content


def _body(operation: Operation) -> dict[str, Any]:
    properties = {
        name: {**(_STRING if known.kind == TEXT else _NAMES), "description": known.what}
        for name, known in operation.body.items()
    }
    required = [name for name, known in operation.body.items() if known.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
