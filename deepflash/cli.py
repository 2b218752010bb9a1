"""The command line: parse, call one function of a room, print.

Results go to stdout, progress and errors to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 done but some
items were set aside, 130 interrupted. Rooms are imported inside the commands, so that `--help` answers at once.
"""

import errno
import math
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from deepflash import __version__
from deepflash.accounts import Account
from deepflash.errors import DeepflashError, ExitCode, PairError
from deepflash.progress import Report, shown, silent

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _folder(*, exists: bool = False) -> click.Path:
    """Return the type of a folder, under the name by which documents call it."""
    folder = click.Path(exists=exists, file_okay=False, path_type=Path)
    folder.name = "folder"
    return folder


class _Number(click.FloatRange):
    """A number within limits. NaN is in none, but click, which asks whether it is beyond one, lets it pass."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, parameter, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", parameter, context)
        return number


_FOLDER = _folder()
_FILE = click.Path(dir_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)
_PORT = click.IntRange(0, 65535)
_SEED = click.IntRange(0, 2**32 - 1)
_QUIET = "deepflash.quiet"
_SECTIONS = {
    "Begin here": ("demo",),
    "From the studio to a data set": ("capture", "import", "align", "build-dataset", "dataset", "verify", "forget"),
    "From a data set to a network": ("train", "evaluate", "compare", "export"),
    "From a flash photograph to a portrait": ("enhance", "serve", "bokeh", "style-transfer"),
}
_NOT_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}  # a matter of the disk


def main() -> NoReturn:
    """Run the command line and exit with a documented code."""
    # Threads that wait for each other by spinning slow training tenfold on a machine that does something else besides.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _end_in_order_when_asked()
    try:
        code = cli.main(prog_name="deepflash", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; run the same command again to go on.", err=True)
        code = ExitCode.INTERRUPTED
    except DeepflashError as error:
        click.echo(f"Error: {error}", err=True)
        code = ExitCode.FAILURE
    except ModuleNotFoundError as error:
        if (error.name or "deepflash").partition(".")[0] == "deepflash":
            raise
        click.echo(f"Error: the Python module {error.name} is not installed; install it, or all of deepflash", err=True)
        code = ExitCode.FAILURE
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        code = ExitCode.FAILURE
    except OSError as error:
        if error.filename is None and error.errno not in _NOT_OURS:
            raise
        click.echo(f"Error: {error.filename or 'a file'} cannot be written or read: {error.strerror}; mend that", err=True)
        code = ExitCode.FAILURE
    sys.exit(int(code or ExitCode.OK))


def _nobody_reads() -> bool:
    """Say whether the pipe that broke is one we print to, whose reader has read enough (`| head`); then print no more."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # else Python complains when it flushes at the end
            return True
    return False


def _end_in_order_when_asked() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does, unless whoever started us wants them ignored (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Take defaults from a TOML file whose tables are named after the commands; unknown keys are refused."""
    if path is None:
        return
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} cannot be read ({error})") from error
    context.default_map = _defaults(context.command, config, str(path))


def _defaults(command: click.Command, config: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a table's values as click wants them; they mean what they would mean if they were typed."""
    known: dict[str, click.Command | None] = (
        {**command.commands} if isinstance(command, click.Group) else dict.fromkeys(_names_as_typed(command))
    )
    defaults: dict[str, Any] = {}
    for key, value in config.items():
        if key not in known:
            raise click.BadParameter(f"{where}: unknown key {key!r}; known here: {', '.join(sorted(known))}")
        child = known[key]
        if child is None:
            if not isinstance(value, str | int | float):
                raise click.BadParameter(f"{where}: {key} = {value!r} must be text, a number, true or false")
            defaults[_names_as_typed(command)[key]] = str(value)
        elif isinstance(value, dict):
            defaults[key] = _defaults(child, value, f"{where}, table {key}")
        else:
            raise click.BadParameter(f"{where}: {key} is a command, so it needs a table, [{key}], not {value!r}")
    return defaults


def _names_as_typed(command: click.Command) -> dict[str, str]:
    """Return a command's parameters by the long names of their options, without dashes."""
    return {parameter.opts[-1].lstrip("-"): str(parameter.name) for parameter in command.params}


class _Group(click.Group):
    """A group whose help lists its commands in the order in which they are needed."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)


class _Sections(click.Group):
    """The program itself, whose help lists its commands by what they are for."""

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                widest = max(map(len, self.commands))
                formatter.write_dl([(f"{name:<{widest}}", self.commands[name].get_short_help_str(200)) for name in names])


@click.group(
    cls=_Sections,
    context_settings={"auto_envvar_prefix": "DEEPFLASH", "help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    help="TOML file with defaults, one table per command; flags and DEEPFLASH_* variables win.",
)
def cli() -> None:
    """Turn flash selfies into studio portraits: photograph pairs, register them, train a network, enhance photographs."""


def _together(*options: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    """Return several options as one decorator; the help lists them in this order."""

    def decorate(command: _Function) -> _Function:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _examples(*lines: str) -> str:
    """Return lines to copy as the end of a command's help, where click is not to wrap them."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def _remember_quiet(context: click.Context, _parameter: click.Parameter, quiet: bool) -> None:
    context.meta[_QUIET] = quiet


def _shown(label: str) -> AbstractContextManager[Report]:
    """Return what shows a command's progress, which is nothing if it was asked to be quiet."""
    return nullcontext(silent) if click.get_current_context().meta.get(_QUIET) else shown(label)


json_option = click.option("--json", is_flag=True, help="Print one JSON object instead of sentences.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember_quiet, help="Show no progress."
)
output_options = _together(quiet_option, json_option)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", show_default="one per core", help="Processes to use."
)
gpu_option = click.option(
    "--device", metavar="DEVICE", show_default="the GPU if there is one", help="What computes: cpu, cuda, cuda:1 ..."
)
cpu_option = click.option("--device", metavar="DEVICE", show_default="cpu", help="What computes: cpu, cuda, cuda:1 ...")
run_option = click.option(
    "--run", required=True, type=_PATH, metavar="RUN", help="A folder that `train` wrote, or one of its .safetensors files."
)
rig_option = click.option("--rig", type=_FILE, help="The studio's rig.toml: relay board, camera, timing.")
emulate_option = click.option("--emulate", is_flag=True, help="Use the emulated studio instead of a rig.")
sitters_option = click.option(
    "--sitters",
    type=_folder(exists=True),
    show_default="two that ship with our dependencies",
    help="Portraits to sit for the emulated studio.",
)


def _picture_size(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 240 <= int(width) <= 6000 and 320 <= int(height) <= 8000):
        raise click.BadParameter(f"{value!r} is not a size from 240x320 to 6000x8000, such as 3120x4160")
    return int(width), int(height)


size_option = click.option(
    "--size",
    metavar="WIDTHxHEIGHT",
    callback=_picture_size,
    default="3120x4160",
    help="Of the emulated camera's pictures, pixels.",
)


def _pose_plan(_context: click.Context, _parameter: click.Parameter, value: str) -> Any:
    from deepflash.capture.journal import check_poses
    from deepflash.capture.poses import load_poses, named_poses
    from deepflash.capture.session import first_poses

    try:
        if value.endswith(".toml"):
            return load_poses(Path(value))
        names = first_poses(int(value)) if value.isdecimal() else tuple(name.strip() for name in value.split(","))
        check_poses(names)
        return named_poses(names)
    except DeepflashError as error:
        raise click.BadParameter(str(error)) from error


def _subject(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    from deepflash.pairs import check_id

    try:
        return check_id(value)
    except PairError as error:
        raise click.BadParameter(str(error)) from error


@cli.group("capture", cls=_Group)
def capture_group() -> None:
    """Photograph pairs: studio lamps, then the flash."""


poses_option = click.option(
    "--poses",
    default="3",
    metavar="POSES",
    callback=_pose_plan,
    help="How many of the standard poses, their names (frontal,left,smile), or a pose list (.toml).",
)
mirror_option = click.option(
    "--mirror", type=_FOLDER, help="A second tree, on another disk, for a verified copy of every pair."
)
raw_option = click.option("--raw", type=_FOLDER, default="raw", help="Tree to store the pairs in.")
seed_option = click.option(
    "--seed", type=_SEED, metavar="N", default=0, help="Of the emulated sitter's motion and the sensor's noise."
)
emulation_options = _together(sitters_option, size_option, seed_option)


@capture_group.command(
    "session",
    short_help="Hold a sitting: prompts, shots, instant verdicts, retakes.",
    epilog=_examples(
        "deepflash capture session --subject S001 --rig rig.toml",
        "deepflash capture session --subject S001 --emulate --size 780x1040",
    ),
)
@click.option(
    "--subject",
    required=True,
    metavar="ID",
    callback=_subject,
    help="Pseudonymous id of the person, such as S001; never a name.",
)
@click.option("--consent", metavar="TEXT", help="Where the person's signed consent is filed, such as a form's number.")
@raw_option
@mirror_option
@poses_option
@rig_option
@emulate_option
@click.option(
    "--daemon",
    metavar="URL",
    show_default="this rig's daemon, or a private one",
    help="Address of a running daemon, as it printed it.",
)
@click.option(
    "--prompt/--no-prompt", default=None, show_default="with a real rig only", help="Wait for Enter before each shot."
)
@emulation_options
@output_options
def capture_session(
    subject: str,
    consent: str | None,
    raw: Path,
    mirror: Path | None,
    poses: Any,
    rig: Path | None,
    emulate: bool,
    daemon: str | None,
    prompt: bool | None,
    sitters: Path | None,
    size: tuple[int, int],
    seed: int,
    json: bool,
) -> ExitCode:
    """Hold a sitting of one subject: prompts, shots, instant verdicts, retakes.

    A sitting that was interrupted goes on when the same command is given again. The rig is used through its
    daemon (see `capture daemon`); if none runs, a private one does while this command lasts.
    """
    from deepflash.capture.terminal import hold_session_at

    if daemon is None:
        _need_rig_or_emulation(rig, emulate)
    names = [pose.name for pose in poses]
    ask = _ask_for_shot if (prompt if prompt is not None else not emulate) else None
    studio = None if daemon else _studio(rig, raw, mirror, poses, sitters, size, seed, retakes=0)
    with _daemon(daemon, studio, rig) as address, _shown("capture") as report:
        session = hold_session_at(address, subject, names, consent=consent, report=_with_notes_said(report), ask=ask)
    return _print_session(session, json)


@capture_group.command("daemon", short_help="Own the rig; serve the console page and a JSON API.")
@raw_option
@mirror_option
@poses_option
@rig_option
@emulate_option
@click.option("--port", type=_PORT, metavar="PORT", default=8765, help="Of 127.0.0.1; 0 takes a free one.")
@click.option(
    "--retakes",
    type=click.IntRange(0, 10),
    metavar="N",
    default=2,
    help="How often a take is repeated at once whose times were off or in which a device failed.",
)
@emulation_options
@json_option
def capture_daemon(
    raw: Path,
    mirror: Path | None,
    poses: Any,
    rig: Path | None,
    emulate: bool,
    port: int,
    retakes: int,
    sitters: Path | None,
    size: tuple[int, int],
    seed: int,
    json: bool,
) -> None:
    """Own the rig, and serve the console page and a JSON API to this computer, until Ctrl-C.

    Open the printed address in a browser; what follows its # lets you in. The API is described at /api/openapi.json.
    """
    from deepflash.capture.daemon import running_daemon
    from deepflash.capture.desk import Desk
    from deepflash.capture.whereabouts import announced, name_of
    from deepflash.hardware.rig import load_rig

    _need_rig_or_emulation(rig, emulate)
    studio = _studio(rig, raw, mirror, poses, sitters, size, seed, retakes=retakes)
    over = _told_to_end()
    name = name_of(load_rig(rig) if rig else None, raw)
    with Desk(studio) as desk, running_daemon(desk, port=port) as address, announced(name, address):
        sentence = (
            f"The console is at {address.url}\nIt answers to this computer only. Ctrl-C ends the daemon; the lamps go off."
        )
        click.echo(dumps({"url": address.url, "port": address.port, "token": address.token}) if json else sentence)
        over.wait()


def _with_notes_said(report: Report) -> Report:
    """Return a report that says its notes in lines of their own: what became of a take is more than progress."""

    def said(done: int, total: int, note: str = "") -> None:
        if note:
            click.echo(note, err=True)
        report(done, total, "")

    return said


def _told_to_end() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set: the ordinary end of what serves until then, not an interruption."""
    over = threading.Event()
    for order in (signal.SIGINT, signal.SIGTERM):
        signal.signal(order, lambda *_: over.set())
    return over


def _print_session(session: dict[str, Any], json: bool) -> ExitCode:
    """Print how a session stands, as the API described it."""
    pairs, missing = session["pairs"], session["missing"]
    retaken = sum(take["verdict"] != "good" for take in session["takes"])
    if json:
        names = ("subject", "session", "finish", "missing", "orphans", "mirror_fault")
        shown = [{name: pair[name] for name in ("id", "pose", "folder")} for pair in pairs]
        click.echo(dumps({**{name: session[name] for name in names}, "pairs": shown, "retakes": retaken}))
    else:
        rest = (f", {retaken} retaken" if retaken else "") + (f"; missing: {', '.join(missing)}" if missing else "")
        noun = "pair" if len(pairs) == 1 else "pairs"
        click.echo(f"{session['subject']}, session {session['session']}: {len(pairs)} {noun} saved{rest}")
        if session["finish"] is None:
            click.echo("The session is not finished; the same command goes on with it.", err=True)
    if session["mirror_fault"]:
        click.echo(f"Warning: {session['mirror_fault']}; the end of the next session brings it up to date.", err=True)
    if not missing and not session["mirror_fault"]:
        return ExitCode.OK
    return ExitCode.SET_ASIDE if pairs else ExitCode.FAILURE


def _studio(
    rig_file: Path | None,
    raw: Path,
    mirror: Path | None,
    poses: Any,
    sitters: Path | None,
    size: tuple[int, int],
    seed: int,
    *,
    retakes: int,
) -> Any:
    from deepflash.capture.desk import Studio
    from deepflash.hardware.rig import load_rig

    rig = load_rig(rig_file) if rig_file else None
    return Studio(
        lambda subject: _rig(rig, raw, subject, sitters, size, seed), rig is None, raw, poses, mirror=mirror, retakes=retakes
    )


@contextmanager
def _daemon(url: str | None, studio: Any, rig_file: Path | None) -> Iterator[Any]:
    """Yield the address of the daemon that was named, or that has the rig, or of a private one."""
    from deepflash.capture.daemon import running_daemon
    from deepflash.capture.desk import Desk
    from deepflash.capture.terminal import is_alive, read_address
    from deepflash.capture.whereabouts import find_daemon, name_of
    from deepflash.hardware.rig import load_rig

    if url is not None:
        yield read_address(url)
        return
    found = find_daemon(name_of(load_rig(rig_file) if rig_file else None, studio.raw))
    if found is not None and is_alive(found):
        click.echo(f"The rig's daemon at port {found.port} holds the session, in its own raw tree.", err=True)
        yield found
        return
    with Desk(studio) as desk, running_daemon(desk) as address:
        yield address


def _rig(rig: Any, raw: Path, subject: str, sitters: Path | None, size: tuple[int, int], seed: int) -> Any:
    if rig is not None:
        return nullcontext(rig)
    from deepflash.hardware.emulator.sitters import SitterChoice
    from deepflash.hardware.emulator.studio import emulated_studio, emulator_folder

    return emulated_studio(emulator_folder(raw) / subject, SitterChoice(subject, sitters), size=size, seed=seed)


def _ask_for_shot(prompt: str, take: int) -> str:
    """Ask the operator what to do; the end of the input interrupts, because nobody is there to press anything."""
    again = f" (take {take})" if take > 1 else ""
    click.echo(f"{prompt}{again}. Enter shoots; r retake, s skip, u undo, q quit.", err=True)
    keys = {"": "shoot", "r": "retake", "s": "skip", "u": "undo", "q": "quit"}
    while line := sys.stdin.readline():
        if line.strip().lower() in keys:
            return keys[line.strip().lower()]
        click.echo("Enter, r, s, u or q.", err=True)
    raise click.Abort


@capture_group.command("lamps")
@click.argument("state", type=click.Choice(["on", "off"]))
@rig_option
@emulate_option
@click.option(
    "--for",
    "for_s",
    type=_Number(min=0),
    metavar="SECONDS",
    show_default="the rig's max_on_s",
    help="How long to hold them on.",
)
@json_option
def capture_lamps(state: str, rig: Path | None, emulate: bool, for_s: float | None, json: bool) -> None:
    """Switch the lamps on or off by hand.

    On holds them on until Enter, Ctrl-C or the end of the time; they never stay on without this command.
    """
    from deepflash.capture.by_hand import lamps_off, lamps_on
    from deepflash.hardware.rig import load_rig

    _need_rig_or_emulation(rig, emulate)
    with _board(load_rig(rig) if rig else None) as board:
        if state == "on":
            result = lamps_on(board, for_s, tell=_tell_lamps_on, stop=_enter_was_pressed)
            sentence = f"The lamps were on for {result.held_s:.1f} s and are off again"
        else:
            result = lamps_off(board)
            sentence = "The lamps are off" if result.confirmed else "The lamps were switched off (the board cannot say so)"
        facts = {"state": state, "confirmed": result.confirmed, "held_s": round(result.held_s, 3)}
        click.echo(dumps({**facts, "port": board.relay_port, "board": board.relay_board}) if json else sentence)


def _need_rig_or_emulation(rig: Path | None, emulate: bool) -> None:
    if emulate == (rig is not None):
        raise click.UsageError(
            "give --rig RIG.toml for a real studio (docs/rig.md shows one), or --emulate for the emulated one"
        )


@contextmanager
def _board(rig: Any) -> Iterator[Any]:
    """Yield the rig, or one with an emulated relay board alone."""
    if rig is not None:
        yield rig
        return
    import tempfile

    from deepflash.hardware.emulator.studio import emulated_board

    with tempfile.TemporaryDirectory() as folder, emulated_board(Path(folder)) as emulated:
        yield emulated


def _tell_lamps_on(switched: Any) -> None:
    confirmed = "the board confirms it" if switched.confirmed else "the board cannot say so"
    end = "; Enter switches them off" if sys.stdin.isatty() else ""
    click.echo(f"The lamps are on ({confirmed}){end}.", err=True)


def _enter_was_pressed() -> bool:
    import select

    return sys.stdin.isatty() and bool(select.select([sys.stdin], [], [], 0)[0])


@capture_group.command("devices", short_help="List relay boards and cameras, as a rig file names them.")
@json_option
def capture_devices(json: bool) -> None:
    """List the serial ports with the relay boards they may be, and the USB cameras, as a rig file names them."""
    from deepflash.hardware.devices import find_devices

    found = find_devices()
    if json:
        click.echo(dumps(asdict(found)))
        return
    click.echo("Relay boards (relay_port, relay_board):")
    for port in found.ports:
        ids = f" [{port.vendor:04x}:{port.product:04x}]" if port.vendor is not None else ""
        boards = f", may be {' or '.join(port.boards)}" if port.boards else ""
        click.echo(f"  {port.lasting_name or port.path}  {port.description}{ids}{boards}")
    if not found.ports:
        click.echo("  none; plug the board in (a board on a network is named by its URL, see docs/rig.md)")
    click.echo("Cameras (camera_port, camera_model):")
    for camera in found.cameras:
        click.echo(f"  {camera.port}  {camera.model}")
    if not found.cameras:
        click.echo(f"  {found.camera_fault or 'none; switch the camera on (one on a network, and a phone, are not listed)'}")


@capture_group.command("calibrate", short_help="Measure how long the lamps glow, how late the shutter opens.")
@rig_option
@emulate_option
@click.option(
    "--fraction",
    type=_Number(0.0005, 0.2),
    metavar="SHARE",
    default=0.01,
    help="How much of the lamps' full light may be left when the flash fires.",
)
@click.option("--plot", type=_FILE, default="calibration.png", help="PNG to draw the curve into.")
@click.option("--yes", is_flag=True, help="Write the measured times into the rig file without asking.")
@output_options
def capture_calibrate(rig: Path | None, emulate: bool, fraction: float, plot: Path, yes: bool, json: bool) -> ExitCode:
    """Measure in photographs how long the lamps glow and how late the shutter opens, and set the rig's times by it.

    Takes about a minute. Point the camera at something bright that stays still, such as a white sheet; set its exposure
    by hand, and let no other light change. The measured times are written into the rig file after asking. A doubtful
    measurement is told, drawn and not written; exit code 3.
    """
    from deepflash.capture.calibration import calibrate, save_plot, update_rig_file
    from deepflash.hardware.rig import load_rig

    _need_rig_or_emulation(rig, emulate)
    with _rig_or_small_studio(load_rig(rig) if rig else None) as studio, _shown("calibrate") as report:
        found = calibrate(studio, fraction=fraction, report=report)
    save_plot(found, plot)
    written = False
    if rig and found.confident:
        _tell_calibration(found, plot, to_stderr=True)
        written = yes or (not json and click.confirm(f"Write this into {rig}?", err=True))
        if written:
            update_rig_file(rig, found.changes)
    if json:
        click.echo(dumps({**found.as_dict(), "plot": str(plot), "written": written}))
    elif written:
        click.echo(f"{rig} was changed")
    elif not (rig and found.confident):
        _tell_calibration(found, plot)
    return ExitCode.OK if found.confident else ExitCode.SET_ASIDE


def _tell_calibration(found: Any, plot: Path, *, to_stderr: bool = False) -> None:
    def with_error(value_s: float, error_s: float) -> str:
        return f"{value_s * 1000:.1f} +/- {2 * error_s * 1000:.1f} ms"

    click.echo(
        f"settle_s: {with_error(found.settle_s, found.settle_error_s)} to {found.fraction:.1%} of full light", err=to_stderr
    )
    click.echo(f"camera_lag_s: {with_error(found.lag_s, found.lag_error_s)}; the curve: {plot}", err=to_stderr)
    for doubt in found.doubts:
        click.echo(f"doubtful: {doubt}", err=to_stderr)


@contextmanager
def _rig_or_small_studio(rig: Any) -> Iterator[Any]:
    """Yield the rig, or an emulated studio whose pictures are small: their light is all that is asked of them."""
    if rig is not None:
        yield rig
        return
    import tempfile

    from deepflash.hardware.emulator.sitters import SitterChoice
    from deepflash.hardware.emulator.studio import emulated_studio

    with (
        tempfile.TemporaryDirectory() as folder,
        emulated_studio(Path(folder) / "studio", SitterChoice("S000"), size=(390, 520)) as emulated,
    ):
        yield emulated


@capture_group.command("doctor", short_help="Say what is wrong before the subject sits down.")
@rig_option
@emulate_option
@raw_option
@json_option
def capture_doctor(rig: Path | None, emulate: bool, raw: Path, json: bool) -> ExitCode:
    """Say what is wrong before the subject sits down, and how to mend it: ports, lamps, camera, battery, space, clock.

    Switches the lamps off; takes no photograph. Exit code 0: a sitting can be held; 1: it cannot.
    """
    from deepflash.capture.doctor import examine
    from deepflash.hardware.rig import load_rig

    _need_rig_or_emulation(rig, emulate)
    findings = []
    with _rig_or_small_studio(load_rig(rig) if rig else None) as studio:
        for finding in examine(studio, raw):
            findings.append(finding)
            if not json:
                mend = f"\n{'':9}{finding.mend}" if finding.mend else ""
                click.echo(f"{finding.state:8} {finding.what}: {finding.sentence}{mend}")
    sound = all(finding.state != "fault" for finding in findings)
    if json:
        click.echo(dumps({"sound": sound, "findings": [asdict(finding) for finding in findings]}))
    return ExitCode.OK if sound else ExitCode.FAILURE


@capture_group.command("phone", short_help="Make a phone the camera.")
@click.option("--rig", type=_FILE, help="A rig.toml whose camera_port is a phone's; its camera_settings are tried too.")
@click.option(
    "--camera-port", metavar="PORT", default="phone:8765:torch", help="Without a rig: phone:PORT:torch or phone:PORT:flash."
)
@click.option("--wait", "wait_s", type=_Number(min=0), metavar="SECONDS", default=120.0, help="How long to wait for the phone.")
@json_option
def capture_phone(rig: Path | None, camera_port: str, wait_s: float, json: bool) -> None:
    """Say how to make a phone the camera, wait for it, and say what it offers.

    The address stays the same on this computer; a page that is left open is there again for the next session.
    """
    from deepflash.hardware.phone import PhoneCamera, parse_phone_port, phone_address
    from deepflash.hardware.rig import load_rig

    studio = load_rig(rig) if rig else None
    port, mode = parse_phone_port(studio.camera_port if studio else camera_port)
    address = phone_address(f"phone:{port}:{mode}")
    click.echo(
        f"Connect the phone by USB, then:\n  adb reverse tcp:{port} tcp:{port}\n"
        f"  adb shell am start -a android.intent.action.VIEW -d '{address}'\n"
        f"or open {address} in its browser by hand. Then tap Start on the phone.",
        err=True,
    )
    with PhoneCamera(port, mode, studio.camera_settings if studio else {}, patience_s=wait_s) as camera:
        camera.make_ready()
        settings = camera.facts.settings
    if json:
        click.echo(dumps({"address": address, **settings}))
    else:
        size = f"{settings.get('width', '?')} x {settings.get('height', '?')}"
        doubt = settings["clock_doubt_ms"]
        click.echo(f"The phone is ready: {settings['cameramodel']}, {size}, {mode} mode, its clock known to {doubt} ms")


@cli.group("align", cls=_Group)
def align_group() -> None:
    """Register the studio photograph onto the flash photograph."""


def _part(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    k, _, n = value.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise click.BadParameter(f"{value!r} is no part; write K/N with K from 1 to N, such as 3/64")
    return int(k), int(n)


method_option = click.option(
    "--method",
    type=click.Choice(["paper", "mattes", "refined"]),
    default="refined",
    help="How to register: to the letter of the paper (minutes), its metric on gradients, or that refined to sub-pixels.",
)


def _who_works(workers: int | None, cluster: str | None) -> tuple[int | None, str | None]:
    """Return one of the two: what is typed wins over what a file or the environment says, then the cluster."""
    source = click.get_current_context().get_parameter_source
    typed = [name for name in ("workers", "cluster") if source(name) == click.core.ParameterSource.COMMANDLINE]
    if len(typed) == 2:
        raise click.UsageError("--workers are processes of this machine; a --cluster brings its own. Give one of them")
    return (workers, None) if typed == ["workers"] or not cluster else (None, cluster)


@align_group.command(
    "batch",
    short_help="Register every pair in RAW, one JSON each into ALIGNED.",
    epilog=_examples("deepflash align batch raw aligned", "deepflash align batch raw aligned --part 3/64"),
)
@click.argument("raw", type=_FOLDER)
@click.argument("aligned", type=_FOLDER)
@workers_option
@method_option
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Let the workers of this Dask scheduler do it: tcp://HOST:PORT, or its scheduler file (.json).",
)
@click.option("--part", metavar="K/N", callback=_part, help="Do only the K-th of N parts of the pairs, K from 1, as in 3/64.")
@click.option("--write-images", is_flag=True, help="Also store each registered studio photograph.")
@output_options
def align_batch_command(
    raw: Path,
    aligned: Path,
    workers: int | None,
    method: Any,
    cluster: str | None,
    part: tuple[int, int] | None,
    write_images: bool,
    json: bool,
) -> ExitCode:
    """Register every pair in RAW and write one JSON per pair into ALIGNED.

    RAW is a tree written by `capture`, or any folder of files NN_flash.jpg and NN_studio.jpg. Finished work is
    recognised by content and skipped; what another method finished is done again. docs/clusters.md tells how several
    machines share the work.
    """
    from deepflash.align.batch import align_batch

    workers, cluster = _who_works(workers, cluster)
    with _shown("align") as report:
        account = align_batch(
            raw,
            aligned,
            workers=workers,
            method=method,
            cluster=cluster,
            part=part,
            write_images=write_images,
            report=report,
        )
    return _print_account(account, json)


@align_group.command("report", short_help="Write a page on which to look through the registrations.")
@click.argument("aligned", type=_FOLDER)
@click.option("-o", "--out", type=_FILE, default="report.html", help="HTML page to write.")
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", default=200, help="Pairs to show at most, the worst first; 0 shows all."
)
@click.option(
    "--width",
    "picture_width",
    type=click.IntRange(120, 1600),
    metavar="PIXELS",
    default=480,
    help="Of each picture; at 480 a pair takes about 0.15 MB.",
)
@workers_option
@output_options
def align_report_command(aligned: Path, out: Path, limit: int, picture_width: int, workers: int | None, json: bool) -> ExitCode:
    """Write one HTML page on which to look through the registrations in ALIGNED, the worst first.

    The page holds its pictures and needs no network: flicker, checkerboard, difference and edges of every pair before
    and after registration, landmarks, numbers and reasons. It shows people's faces: treat it like their photographs.
    """
    from deepflash.align.report import write_report
    from deepflash.batch import usable_cores

    with _shown("report") as report:
        written = write_report(
            aligned,
            out,
            limit=limit or None,
            picture_width_px=picture_width,
            workers=workers or usable_cores(),
            report=report,
        )
    _tell_set_aside(written.account)
    click.echo(dumps(written.as_dict()) if json else written.sentence())
    return written.account.exit_code


@align_group.command("pair", epilog=_examples("deepflash align pair 01_flash.jpg 01_studio.jpg --report look.html"))
@click.argument("flash", type=_FILE)
@click.argument("studio", type=_FILE)
@method_option
@click.option(
    "-o", "--out", type=_FILE, help="Picture to write (PNG, or .jpg): both photographs, and their overlay before and after."
)
@click.option(
    "--report", "page", type=_FILE, help="HTML page to write, as `align report` does: flicker, checkerboard and more."
)
@json_option
def align_pair_command(flash: Path, studio: Path, method: Any, out: Path | None, page: Path | None, json: bool) -> None:
    """Register one pair, FLASH and STUDIO, and say how well it went."""
    from deepflash.align.batch import align_pair
    from deepflash.align.report import write_page
    from deepflash.align.views import before_after_strip
    from deepflash.align.words import numbers_in_words
    from deepflash.files import write_durably
    from deepflash.pairs import Pair
    from deepflash.pictures import encode

    alignment = align_pair(Pair(flash.stem, flash.stem, flash.absolute(), studio.absolute()), method)
    if out:
        write_durably(out, encode(before_after_strip(alignment), ".jpg" if out.suffix.lower() in {".jpg", ".jpeg"} else ".png"))
    if page:
        write_page([alignment], page, title=flash.name)
    if json:
        click.echo(
            dumps(
                {
                    "verdict": alignment.verdict,
                    "reasons": alignment.reasons,
                    "method": alignment.method,
                    "method_asked": alignment.method_asked,
                    "moving_from_fixed": alignment.moving_from_fixed,
                    "quality": alignment.quality,
                }
            )
        )
        return
    click.echo(f"{alignment.verdict}: {'; '.join(alignment.reasons) or 'nothing to remark'}")
    numbers = numbers_in_words(alignment)
    widest = max((len(label) for label, _ in numbers), default=0)
    for label, value in numbers:
        click.echo(f"  {label:<{widest}}  {value}")
    click.echo(f"map from flash to studio pixels ({alignment.method}):")
    for row in alignment.moving_from_fixed:
        click.echo("  " + "  ".join(f"{value:12.6f}" for value in row))


def _proportions(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(share) for share in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not three numbers, such as 0.8,0.1,0.1") from None
    return train, val, test


def _words(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in value.split(","))))


@cli.command(
    "import",
    epilog=_examples(
        "deepflash import photos raw --pattern '{subject}/{pose}_{light}.jpg'",
        "deepflash import pairs.csv raw",
        "deepflash import faid/People raw --layout faid",
    ),
)
@click.argument("source", type=_PATH)
@click.argument("raw", type=_FOLDER)
@click.option(
    "--pattern",
    metavar="PATTERN",
    help="How the files below SOURCE are named, such as '{subject}/{pose}_{light}.jpg'; * stands for anything.",
)
@click.option("--layout", type=click.Choice(["deepflash", "faid", "ebb", "dped"]), help="SOURCE is this published data set.")
@click.option(
    "--flash-word",
    multiple=True,
    metavar="WORD",
    show_default="flash",
    help="With --pattern: what {light} is for the flash photograph; may be given several times.",
)
@click.option(
    "--studio-word",
    multiple=True,
    metavar="WORD",
    show_default="studio, noflash, no-flash, no_flash, ambient",
    help="With --pattern: the same for the studio photograph.",
)
@click.option(
    "--root", type=_FOLDER, show_default="the list's own", help="With a list: the folder that its paths are relative to."
)
@click.option(
    "--copy/--reference",
    "copy",
    default=True,
    help="Copy the photographs into RAW, or leave them where they are and note where that is.",
)
@click.option(
    "--subjects",
    type=click.Choice(["number", "keep"]),
    show_default="keep with --layout, else number",
    help="Number the persons (S001, ...), or keep the source's words as ids.",
)
@click.option("--names", type=_FILE, show_default="RAW-subjects.json beside RAW", help="Private list of who has which number.")
@click.option("--dry-run", is_flag=True, help="Examine everything, say what would be done, write nothing.")
@workers_option
@output_options
def import_command(
    source: Path,
    raw: Path,
    pattern: str | None,
    layout: str | None,
    flash_word: tuple[str, ...],
    studio_word: tuple[str, ...],
    root: Path | None,
    copy: bool,
    subjects: str | None,
    names: Path | None,
    dry_run: bool,
    workers: int | None,
    json: bool,
) -> ExitCode:
    """Bring pairs from elsewhere into the tree RAW.

    SOURCE is a folder, with --pattern or --layout, or a list of pairs: a .csv or .parquet file with the columns flash, studio,
    subject, and perhaps session, take, pose, consent. Nothing in SOURCE is changed; what RAW has already is skipped.
    """
    from deepflash.dataset.importing import import_pairs
    from deepflash.dataset.sources import printable

    found = _source(source, pattern, layout, {"flash": flash_word, "studio": studio_word}, root)
    with _shown("import") as report:
        result = import_pairs(
            found,
            raw,
            by_reference=not copy,
            subjects="keep" if subjects == "keep" or (subjects is None and layout) else "number",
            names=names,
            dry_run=dry_run,
            workers=workers,
            report=report,
        )
    _tell_set_aside(result.account)
    _tell_notes(result.notes)
    if json:
        click.echo(dumps({**result.as_dict(), "dry_run": dry_run}))
        return result.account.exit_code
    for take in result.takes if dry_run else ():
        click.echo(f"{take['item']} -> {printable(take['folder'])}")
    click.echo(f"{'dry run, nothing was written: ' if dry_run else ''}{result.account.sentence()}")
    return result.account.exit_code


def _source(source: Path, pattern: str | None, layout: str | None, words: dict[str, tuple[str, ...]], root: Path | None) -> Any:
    """Return the pairs of a source, or say which options go together."""
    from deepflash.dataset.layouts import find_layout
    from deepflash.dataset.lists import SUFFIXES, read_list
    from deepflash.dataset.patterns import WORDS, sorter_of
    from deepflash.dataset.sources import find_pairs_by

    is_list = source.suffix.lower() in SUFFIXES and not source.is_dir()
    if sum((is_list, pattern is not None, layout is not None)) != 1:
        raise click.UsageError("give a list (.csv, .tsv, .parquet), or a folder with either --pattern or --layout")
    if any(words.values()) and pattern is None:
        raise click.UsageError("--flash-word and --studio-word go with --pattern")
    if root is not None and not is_list:
        raise click.UsageError("--root goes with a list")
    if is_list:
        return read_list(source, root)
    if layout is not None:
        return find_layout(source, layout)
    chosen = {light: words[light] or WORDS[light] for light in words}
    return find_pairs_by(sorter_of(str(pattern), chosen), source, "pattern", f"as {pattern}")


@cli.command(
    "build-dataset",
    short_help="Split by subject, twenty variants of each pair, shards.",
    epilog=_examples(
        "deepflash build-dataset aligned shards",
        "deepflash build-dataset aligned shards --size 128 --min-confidence 0.9",
    ),
)
@click.argument("aligned", type=_FOLDER)
@click.argument("shards", type=_FOLDER)
@click.option("--size", type=click.IntRange(32, 4096), metavar="PIXELS", default=512, help="Side of the square samples.")
@click.option(
    "--variants", type=_FILE, show_default="the paper's twenty", help="TOML file that declares the variants of a pair."
)
@click.option(
    "--proportions",
    metavar="TRAIN,VAL,TEST",
    callback=_proportions,
    default="0.8,0.1,0.1",
    help="Shares of train, validation and test.",
)
@click.option("--seed", type=_SEED, metavar="N", default=0, help="Of the split by subject.")
@click.option("--split", "split_file", type=_FILE, help="Fixed lists: a TOML file, or the dataset.json of an earlier data set.")
@click.option(
    "--balance", is_flag=True, help="Place who is on no fixed list so that the shares of pairs and of poses come out even."
)
@click.option(
    "--verdicts",
    metavar="VERDICT,...",
    callback=_words,
    default="good,check",
    help="Verdicts of the alignment that are accepted.",
)
@click.option(
    "--min-confidence",
    type=_Number(0, 1),
    metavar="SHARE",
    help="Least confidence of the alignment.",
)
@click.option(
    "--at-most",
    callback=_words,
    default="",
    show_default=False,
    metavar="NAME=VALUE,...",
    help="Limits of numbers in the alignments' quality, such as tile_residual=0.0075.",
)
@click.option(
    "--at-least", callback=_words, default="", show_default=False, metavar="NAME=VALUE,...", help="The same, from below."
)
@click.option("--allow", type=_FILE, help="Text file of pair ids, one a line, that enter whatever their verdict and numbers.")
@click.option("--leave-out", type=_FILE, help="Text file of pair ids that do not enter.")
@click.option(
    "--format",
    "pictures",
    type=click.Choice(["png", "webp", "jpeg"]),
    default="png",
    help="How pictures are stored: png and webp are lossless.",
)
@click.option("--no-leakage-check", is_flag=True, help="Do not compare faces to find one person under two ids.")
@workers_option
@output_options
def build_dataset_command(
    aligned: Path,
    shards: Path,
    size: int,
    variants: Path | None,
    proportions: tuple[float, float, float],
    seed: int,
    split_file: Path | None,
    balance: bool,
    verdicts: tuple[str, ...],
    min_confidence: float | None,
    at_most: tuple[str, ...],
    at_least: tuple[str, ...],
    allow: Path | None,
    leave_out: Path | None,
    pictures: str,
    no_leakage_check: bool,
    workers: int | None,
    json: bool,
) -> ExitCode:
    """Build SHARDS from ALIGNED: split by subject, twenty variants of each pair, WebDataset tars.

    Pairs that alignment judged bad are left out, each with its reason. Finished work is recognised by content and skipped.
    """
    from deepflash.batch import usable_cores
    from deepflash.dataset.build import build_dataset
    from deepflash.dataset.gate import Gate, read_limits, read_pair_ids
    from deepflash.dataset.parameters import Parameters
    from deepflash.dataset.split import read_split
    from deepflash.dataset.variant_set import load_variants, paper_variants
    from deepflash.shards import read_manifest

    confidence = {} if min_confidence is None else {"confidence": min_confidence}
    gate = Gate(
        verdicts=verdicts,
        at_most=read_limits(at_most),
        at_least=read_limits(at_least) | confidence,
        allow=read_pair_ids(allow) if allow else (),
        leave_out=read_pair_ids(leave_out) if leave_out else (),
    )
    parameters = Parameters(
        size=size,
        proportions=proportions,
        seed=seed,
        balance=balance,
        fixed=read_split(split_file) if split_file else {},
        variants=load_variants(variants) if variants else paper_variants(),
        gate=gate,
        pictures=pictures,
        leakage_check=not no_leakage_check,
    )
    with _shown("build") as report:
        account = build_dataset(aligned, shards, parameters, workers=workers or usable_cores(), report=report)
    if account.done + account.skipped:
        _tell_notes(read_manifest(shards)["notes"])
    return _print_account(account, json)


@cli.command(
    "verify",
    short_help="Check that a raw, aligned or shards tree is whole.",
    epilog=_examples("deepflash verify raw", "deepflash verify shards --full"),
)
@click.argument("tree", type=_FOLDER)
@click.option("--full", is_flag=True, help="Read every byte: checksums, and every picture decoded.")
@workers_option
@output_options
def verify_command(tree: Path, full: bool, workers: int | None, json: bool) -> ExitCode:
    """Check that TREE (raw, aligned or shards) is complete and valid: nothing missing, nothing else, nothing altered.

    Without --full: names, sizes and lists, in seconds. Every fault is named, one to a line. Exit code 3: there are faults;
    1: nothing is sound, or TREE is none of the three.
    """
    from deepflash.batch import usable_cores
    from deepflash.dataset.verify import verify

    with _shown("verify") as report:
        outcome = verify(tree, full=full, workers=workers or usable_cores(), report=report)
    _tell_notes(outcome.notes)
    if json:
        click.echo(dumps(outcome.as_dict()))
        return outcome.exit_code
    for fault in outcome.faults:
        click.echo(f"fault: {fault}")
    click.echo(outcome.sentence())
    return outcome.exit_code


@cli.group("dataset", cls=_Group)
def dataset_group() -> None:
    """Look at a data set, or make pairs to learn bokeh from."""


eyes_option = click.option(
    "--eyes", is_flag=True, help="Look for shut eyes, too: slower, by a landmark model that is not for commercial products."
)


@dataset_group.command("stats", short_help="Print sizes, poses, exposure, skin, motion, and the worst pairs.")
@click.argument("shards", type=_FOLDER)
@eyes_option
@workers_option
@output_options
def dataset_stats(shards: Path, eyes: bool, workers: int | None, json: bool) -> None:
    """Print what is in SHARDS: sizes, poses, exposure, colour of skin, motion, eyes, sharpness, and the worst pairs.

    Everything is measured in the un-augmented samples, some sixty pairs a second and core.
    """
    from deepflash.batch import usable_cores
    from deepflash.dataset.summary import summarize

    with _shown("measure") as report:
        summary = summarize(shards, eyes=eyes, workers=workers or usable_cores(), report=report)
    click.echo(dumps(summary.as_dict()) if json else summary.tables())


@dataset_group.command(
    "show",
    short_help="Write a page: contact sheets, sliders, distributions.",
    epilog=_examples("deepflash dataset show shards -o report.html"),
)
@click.argument("shards", type=_FOLDER)
@click.option("-o", "--out", required=True, type=_FILE, help="HTML page to write; it needs nothing beside it.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    default=200,
    help="Pairs to show at most, the worst of each split; 0 shows all. 200 make a page of about 11 MB.",
)
@eyes_option
@workers_option
@output_options
def dataset_show(shards: Path, out: Path, limit: int, eyes: bool, workers: int | None, json: bool) -> None:
    """Write a page to look at SHARDS: contact sheets, sliders from flash to studio, distributions, the worst pairs first."""
    from deepflash.batch import usable_cores
    from deepflash.dataset.show import show_dataset

    with _shown("show") as report:
        page = show_dataset(shards, out, limit=limit or None, eyes=eyes, workers=workers or usable_cores(), report=report)
    click.echo(dumps(page.as_dict()) if json else page.sentence())


@dataset_group.command("bokeh-pairs", short_help="Make pairs to learn bokeh from, of sharp portraits.")
@click.argument("photos", nargs=-1, required=True, type=_FILE)
@click.option("-o", "--out", required=True, type=_FOLDER, help="Folder for the pairs: OUT/original and OUT/bokeh.")
@output_options
def dataset_bokeh_pairs(photos: tuple[Path, ...], out: Path, json: bool) -> ExitCode:
    """Make pairs to learn bokeh from, of portraits that are sharp all over: what is behind the person is blurred.

    A stand-in for the data set EBB!, laid out as that is: `deepflash import OUT raw --layout ebb` takes it from here.
    """
    from deepflash.dataset.portrait_bokeh import write_bokeh_pairs

    with _shown("bokeh-pairs") as report:
        account = write_bokeh_pairs(photos, out, report=report)
    return _print_account(account, json)


@cli.command(
    "forget",
    short_help="Erase a person from every stage.",
    epilog=_examples(
        "deepflash forget S001 raw aligned shards run --dry-run",
        "deepflash forget S001 raw aligned shards run",
    ),
)
@click.argument("subject")
@click.argument("trees", nargs=-1, required=True, type=_FOLDER)
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and erase nothing.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@output_options
def forget_command(subject: str, trees: tuple[Path, ...], dry_run: bool, yes: bool, json: bool) -> ExitCode:
    """Erase the person SUBJECT from TREES: photographs, alignments, data sets, runs. This cannot be undone.

    First says what there is and which runs had trained on the person, and asks. Only shards with samples of the person are
    written anew; the data set stays one. Interrupted, the same command goes on. Weights keep what they learnt: train anew.
    """
    from deepflash.dataset.forget import erase, find_traces

    found = find_traces(subject, trees)
    agreed = bool(found) and not dry_run and (yes or _agree_to_erase(found, json))
    if json:
        click.echo(dumps({**found.as_dict(), "dry_run": dry_run, "erased": agreed}))
    elif yes or dry_run or not found:
        _tell_traces(found)
    if agreed:
        with _shown("forget") as report:
            erase(found, report=report)
    if not json:
        click.echo(f"{'erased: ' if agreed else 'nothing was erased: '}{found.sentence()}")
    return ExitCode.OK if agreed or dry_run or not found else ExitCode.FAILURE


def _tell_traces(found: Any) -> None:
    for trace in found.trees:
        click.echo(trace.sentence())
    _tell_notes(run.sentence() for run in found.runs)
    _tell_notes(found.notes)


def _agree_to_erase(found: Any, json: bool) -> bool:
    """Show what would be erased and ask, if somebody is there to answer."""
    if json or not sys.stdin.isatty():
        click.echo("Nobody is there to ask; look at it with --dry-run, then give --yes.", err=True)
        if not json:
            _tell_traces(found)
        return False
    _tell_traces(found)
    return click.confirm("Erase this for good?")


@cli.command(
    "train",
    short_help="Train a network; the same command again resumes.",
    epilog=_examples(
        "deepflash train shards run",
        "deepflash train shards run --recipe light --set batch=8",
        "torchrun --nproc-per-node 4 -m deepflash train shards run",
    ),
)
@click.argument("shards", type=_FOLDER)
@click.argument("run", type=_FOLDER)
@click.option("--recipe", metavar="RECIPE", default="quick", help="quick, light, paper, another system's, or a TOML file.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a value of the recipe; may be given several times."
)
@gpu_option
@output_options
def train_command(shards: Path, run: Path, recipe: str, changes: tuple[str, ...], device: str | None, json: bool) -> None:
    """Train a network on SHARDS into the folder RUN; the same command again resumes.

    --set start_from=OTHER begins with the weights of another run, or of one of its weights files. Other systems' recipes are
    hdrnet, hdrnet-c, pix2pix, pix2pix-c, deepflash-gan, dense-unet-gan and bokeh.
    """
    from deepflash.model.journal import has_tensorboard
    from deepflash.model.recipe import load_recipe
    from deepflash.model.train import train

    if not has_tensorboard() and os.environ.get("RANK", "0") == "0":
        _tell_notes(["tensorboard is not installed, so its events are not written; metrics.jsonl holds the curve"])
    with _shown("train") as report:
        result = train(shards, run, load_recipe(recipe, changes), device=device, report=report)
    if result.rank:
        return
    if json:
        click.echo(dumps({**asdict(result), "run": str(result.run)}))
    else:
        quality = f", validation PSNR {result.validation.psnr:.2f} dB" if result.validation else ", no validation subjects"
        click.echo(f"{result.run}: {result.steps} steps, {result.resumed_from} of them before; loss {result.loss:.5f}{quality}")


@cli.command(
    "evaluate",
    short_help="Measure runs on people they were not trained on.",
    epilog=_examples("deepflash evaluate run shards", "deepflash evaluate run-c run-a shards -o comparison"),
)
@click.argument("runs", nargs=-1, required=True, type=_PATH)
@click.argument("shards", type=_FOLDER)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", help="Which subjects to measure.")
@click.option(
    "-o", "--out", type=_FOLDER, show_default="RUN/evaluation-SPLIT if there is one run", help="Folder for the tables."
)
@click.option("--lpips", type=_FILE, help="Measure LPIPS too: its layers over VGG-16, vgg.pth of version 0.1. Wants --vgg.")
@click.option("--vgg", type=_FILE, help="For --lpips: the weights of torchvision's VGG-16.")
@gpu_option
@output_options
def evaluate_command(
    runs: tuple[Path, ...],
    shards: Path,
    split: str,
    out: Path | None,
    device: str | None,
    lpips: Path | None,
    vgg: Path | None,
    json: bool,
) -> None:
    """Measure RUNS on a split of SHARDS, side by side and beside baselines that need no network.

    A run is a folder that `train` wrote, or one of its .safetensors files, such as RUN/best.safetensors.

    Writes tables with confidence intervals over subjects (Markdown, CSV, JSON, HTML) and pictures of the worst pairs.
    """
    from deepflash.model.evaluate import evaluate, tables_folder
    from deepflash.model.tables import text

    if len(runs) > 1 and out is None:
        raise click.UsageError("several runs have no folder in common for their tables; give one with -o")
    if (lpips is None) != (vgg is None):
        raise click.UsageError("LPIPS needs two files; give both --lpips and --vgg, or neither")
    weights = (lpips, vgg) if lpips and vgg else None
    with _shown("evaluate") as report:
        evaluation = evaluate(runs, shards, split=split, out=out, device=device, lpips=weights, report=report)
    click.echo(dumps(evaluation.as_dict()) if json else text(evaluation))
    click.echo(f"Tables: {out or tables_folder(runs[0], split)}/evaluation.html and .md, .csv, .json; worst/*.png", err=True)


@cli.command(
    "compare",
    short_help="Make the paper's tables and figures, of any runs.",
    epilog=_examples("deepflash compare run-c run-hdrnet shards -o comparison"),
)
@click.argument("runs", nargs=-1, required=True, type=_PATH)
@click.argument("shards", type=_FOLDER)
@click.option("-o", "--out", required=True, type=_FOLDER, help="Folder for tables and figures.")
@click.option("--style-transfer", is_flag=True, help="Compare portrait style transfer, too: about a second a pair at 512 px.")
@click.option("--pictures", type=click.IntRange(min=0), metavar="N", default=4, help="Pairs in the figure of each set.")
@click.option(
    "--seed", type=_SEED, metavar="N", default=0, help="Of the 30 random pairs of each set, and of those in the figures."
)
@gpu_option
@output_options
def compare_command(
    runs: tuple[Path, ...],
    shards: Path,
    out: Path,
    style_transfer: bool,
    pictures: int,
    seed: int,
    device: str | None,
    json: bool,
) -> None:
    """Set RUNS side by side on all of SHARDS, as the paper does: its tables 1 to 3 and its figures.

    A run is a folder that `train` wrote, or one of its .safetensors files. Measured are the training, validation and test
    sets, whole and 30 random pairs of each, beside baselines that need no network. OUT/train, OUT/val and OUT/test have each
    set's own tables.
    """
    from deepflash.model.compare import compare
    from deepflash.model.comparison import text

    with _shown("compare") as report:
        comparison = compare(
            runs, shards, out, style_transfer=style_transfer, pictures=pictures, seed=seed, device=device, report=report
        )
    click.echo(dumps(comparison.as_dict()) if json else text(comparison))
    click.echo(f"Tables: {out}/comparison.html and .md, .csv, .json; {out}/figure-*.png", err=True)


def _background(_context: click.Context, _parameter: click.Parameter, value: str) -> Any:
    from deepflash.model.enhancement.look import parse_background

    try:
        return parse_background(value)
    except DeepflashError as error:
        raise click.BadParameter(str(error)) from error


compare_option = click.option(
    "--compare",
    type=click.Choice(["none", "side", "split"]),
    default="none",
    help="Write NAME.compare.jpg too: before and after beside each other, or a half of each.",
)
metadata_option = click.option(
    "--metadata",
    type=click.Choice(["safe", "all", "none"]),
    default="safe",
    help="What to keep of EXIF and XMP: all but place, names and numbers of devices; all; nothing.",
)
force_option = click.option("--force", is_flag=True, help="Make what is there already again, whatever it was made with.")
photo_options = _together(compare_option, metadata_option, force_option, cpu_option, output_options)


@cli.command(
    "enhance",
    short_help="Turn flash photographs into studio portraits.",
    epilog=_examples(
        "deepflash enhance selfie.jpg -o portraits --run run",
        "deepflash enhance *.jpg -o portraits --run run --background white",
    ),
)
@click.argument("photos", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--out", required=True, type=_FOLDER, help="Folder for the portraits.")
@run_option
@click.option("--strength", type=_Number(0, 1), metavar="SHARE", default=1.0, help="How much of the change is made.")
@click.option(
    "--background",
    callback=_background,
    default="keep",
    metavar="keep|enhance|COLOR",
    help="Behind the person: leave it, change it too, or put a colour there (white, #406080).",
)
@click.option("--mask", type=_FILE, show_default="found", help="Grey picture, white where the person is; for one photograph.")
@click.option("--no-red-eye", is_flag=True, help="Leave red pupils as they are.")
@click.option("--whole", is_flag=True, help="Treat the entire picture, without looking for faces.")
@photo_options
def enhance_command(
    photos: tuple[Path, ...],
    out: Path,
    run: Path,
    strength: float,
    background: Any,
    mask: Path | None,
    no_red_eye: bool,
    whole: bool,
    compare: Any,
    metadata: Any,
    force: bool,
    device: str | None,
    json: bool,
) -> ExitCode:
    """Turn flash photographs into studio portraits, at their own resolution.

    JPEG, PNG, WebP, TIFF, and HEIC with deepflash[heic]; 8 or 16 bits, in their own colours. See docs/enhancing.md.
    """
    from deepflash.model.enhancement.files import Results, enhance_files
    from deepflash.model.enhancement.look import Look

    if mask is not None and len(photos) > 1:
        raise click.UsageError("a mask belongs to one photograph; enhance them one by one")
    look = Look(strength, background, not no_red_eye, whole)
    results = Results(out, compare, metadata, force)
    with _shown("enhance") as report:
        account = enhance_files(photos, run, results, look, mask=mask, device=device, report=report)
    return _print_account(account, json)


@cli.command(
    "style-transfer",
    short_help="Give a portrait the light of another, without a network.",
    epilog=_examples("deepflash style-transfer photo.jpg example.jpg -o styled.jpg"),
)
@click.argument("photo", type=_FILE)
@click.argument("example", type=_FILE)
@click.option("-o", "--out", required=True, type=_FILE, help="Picture to write (PNG, or .jpg).")
@click.option("--mask", type=_FILE, help="Grey picture of PHOTO's size: white where the subject is. Wants --example-mask.")
@click.option("--example-mask", type=_FILE, help="The same for EXAMPLE. Subject and background are then restyled apart.")
@click.option(
    "--landmarks",
    type=click.Choice(["small", "large"]),
    default="small",
    help="5 points of a face, or 68, whose model is not for commercial products.",
)
@json_option
def style_transfer_command(
    photo: Path, example: Path, out: Path, mask: Path | None, example_mask: Path | None, landmarks: Any, json: bool
) -> None:
    """Give a portrait the light, contrast and colours of another one, without a network (Shih et al. 2014)."""
    from deepflash.model.style_transfer import transfer_style_file

    if (mask is None) != (example_mask is None):
        raise click.UsageError("give --mask and --example-mask both, or neither")
    masks = (mask, example_mask) if mask and example_mask else None
    notes = transfer_style_file(photo, example, out, masks=masks, landmarks=landmarks)
    _tell_notes(notes)
    made = {"photo": str(photo), "example": str(example), "out": str(out), "notes": notes}
    click.echo(dumps(made) if json else f"{out} is written")


@cli.command(
    "bokeh",
    short_help="Blur what is behind the person.",
    epilog=_examples("deepflash bokeh portraits/selfie.jpg -o finished --run bokeh-run"),
)
@click.argument("photos", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--out", required=True, type=_FOLDER, help="Folder for the results.")
@run_option
@photo_options
def bokeh_command(
    photos: tuple[Path, ...],
    out: Path,
    run: Path,
    compare: Any,
    metadata: Any,
    force: bool,
    device: str | None,
    json: bool,
) -> ExitCode:
    """Blur what is behind the person, at the photograph's own resolution; after `enhance`, for the look of a studio.

    RUN was trained by the recipe bokeh. JPEG, PNG, WebP, TIFF, and HEIC with deepflash[heic]; 8 or 16 bits, in their own
    colours. See docs/bokeh.md.
    """
    from deepflash.model.bokeh_files import bokeh_files
    from deepflash.model.enhancement.files import Results

    results = Results(out, compare, metadata, force)
    with _shown("bokeh") as report:
        account = bokeh_files(photos, run, results, device=device, report=report)
    return _print_account(account, json)


@cli.command("serve", short_help="Enhance in the browser, on a page of this computer.")
@run_option
@click.option("--port", type=_PORT, metavar="PORT", default=8770, help="Of 127.0.0.1; 0 takes a free one.")
@click.option("--max-megapixels", type=click.IntRange(1, 178), metavar="N", default=64, help="Larger photographs are refused.")
@click.option(
    "--max-megabytes", type=click.IntRange(1, 1000), metavar="N", default=64, help="Larger files are refused, of 10^6 bytes."
)
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in a browser.")
@cpu_option
@json_option
def serve_command(
    run: Path, port: int, max_megapixels: int, max_megabytes: int, open_page: bool, device: str | None, json: bool
) -> None:
    """Serve a page that turns photographs into portraits to this computer's browser, until Ctrl-C.

    Photographs are neither stored nor sent anywhere. The page answers to this computer only.
    """
    import webbrowser

    from deepflash.model.enhancement.enhancer import load_enhancer
    from deepflash.model.enhancement.serve import Limits, served_page

    over = _told_to_end()
    with served_page(load_enhancer(run, device=device), port=port, limits=Limits(max_megapixels, max_megabytes)) as url:
        sentence = f"The page is at {url}\nIt answers to this computer only, and stores no photograph. Ctrl-C ends it."
        click.echo(dumps({"url": url}) if json else sentence)
        if open_page:
            webbrowser.open(url)
        over.wait()


def _model_sizes(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, int]]:
    sizes = []
    for value in values:
        width, _, height = value.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise click.BadParameter(f"{value!r} is no size such as 512x384")
        sizes.append((int(width), int(height)))
    return sizes


@cli.command(
    "export",
    short_help="Write a run's network as ONNX, for phones and browsers.",
    epilog=_examples("deepflash export run model.onnx", "deepflash export run small.onnx --fp16"),
)
@click.argument("run", type=_PATH)
@click.argument("model", type=_FILE)
@click.option("--fp16", is_flag=True, help="Weights and arithmetic in half precision: half the bytes.")
@click.option(
    "--opset",
    type=click.IntRange(18, 25),
    metavar="N",
    default=18,
    help="Version of ONNX's operators; the older, the more runtimes know it.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    callback=_model_sizes,
    metavar="WIDTHxHEIGHT",
    show_default="four sizes about the one trained on",
    help="Compare answers to pictures of this size, in multiples of 32 pixels; may be given several times.",
)
@output_options
def export_command(run: Path, model: Path, fp16: bool, opset: int, sizes: list[tuple[int, int]], json: bool) -> None:
    """Write the network of RUN as MODEL.onnx, for phones and browsers, if onnxruntime answers as PyTorch does.

    The model takes any number of pictures of any size in multiples of 32. What an app does before and after it is told in
    docs/phone-app.md. Needs deepflash[export].
    """
    from deepflash.model.export import export_onnx

    with _shown("export") as report:
        exported = export_onnx(run, model, half=fp16, opset=opset, sizes=sizes, report=report)
    _tell_notes(exported.notes)
    click.echo(dumps(exported.as_dict()) if json else exported.sentence())


@cli.command("demo", short_help="Do the whole job on the emulated studio, in minutes.")
@click.argument("folder", type=_FOLDER, default="demo")
@sitters_option
@click.option("--subjects", type=click.IntRange(3, 99), metavar="N", default=12, help="How many people to photograph.")
@click.option("--poses", type=click.IntRange(1, 6), metavar="N", default=3, help="Pairs of each.")
@output_options
def demo_command(folder: Path, sitters: Path | None, subjects: int, poses: int, json: bool) -> None:
    """Do the whole job on the emulated studio and show it: FOLDER/report.html, FOLDER/contact-sheet.png.

    Takes some minutes. Given again, it goes on where it stopped.
    """
    from deepflash.demo.job import run_demo

    result = run_demo(folder, sitters=sitters, subjects=subjects, poses=poses, shown=_shown)
    click.echo(dumps(result.as_dict()) if json else result.sentence())


def _tell_notes(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _tell_set_aside(account: Account) -> None:
    for entry in account.set_aside:
        click.echo(f"set aside {entry.item}: {entry.reason}", err=True)


def _print_account(account: Account, json: bool) -> ExitCode:
    _tell_set_aside(account)
    click.echo(dumps(account.as_dict()) if json else account.sentence())
    return account.exit_code
