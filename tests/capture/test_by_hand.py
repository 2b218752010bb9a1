"""The lamps switched by hand, on an emulated board."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deepflash.capture.by_hand import Switched, lamps_off, lamps_on
from deepflash.cli import cli
from deepflash.errors import RelayError
from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.emulator.studio import emulated_board
from deepflash.hardware.rig import Rig, save_rig


def switchings(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(folder / "lamps.jsonl") if line["cause"] == "command"]


def test_lamps_are_held_on_for_the_time_that_was_asked_for_and_then_go_off(tmp_path: Path) -> None:
    told: list[Switched] = []
    with emulated_board(tmp_path) as rig:
        result = lamps_on(rig, 0.5, tell=told.append)

    assert told == [Switched(True, confirmed=True)]
    assert result.held_s >= 0.5
    on, off = switchings(tmp_path)
    assert (on["on"], off["on"]) == (True, False)
    assert off["at_s"] - on["at_s"] == pytest.approx(result.held_s, abs=0.3)


def test_lamps_go_off_earlier_when_somebody_says_so(tmp_path: Path) -> None:
    with emulated_board(tmp_path, "waveshare") as rig:
        assert lamps_on(rig, None, tell=lambda _: None, stop=lambda: True).held_s < rig.max_on_s / 2


def test_a_board_that_cannot_tell_its_state_confirms_nothing(tmp_path: Path) -> None:
    with emulated_board(tmp_path, "enttec-dmx") as rig:
        assert lamps_on(rig, 0.0, tell=lambda _: None).confirmed is False
        assert lamps_off(rig) == Switched(False, confirmed=False)


def test_a_board_that_is_unplugged_while_the_lamps_are_on_is_an_error(tmp_path: Path) -> None:
    with emulated_board(tmp_path, "hw-667") as rig, pytest.raises(RelayError, match=r"relay port .* failed"):
        lamps_on(rig, 20, tell=lambda _: order_fault(tmp_path, Fault("relay", "unplugged", for_s=600)))


def test_the_command_switches_the_board_of_the_rig_file(tmp_path: Path) -> None:
    with emulated_board(tmp_path, "kmtronic-8") as rig:
        save_rig(rig, tmp_path / "rig.toml")
        run = CliRunner().invoke(cli, ["capture", "lamps", "on", "--for", "0", "--rig", str(tmp_path / "rig.toml"), "--json"])
        assert run.exit_code == 0, run.output
        assert "The lamps are on (the board confirms it)." in run.stderr
        facts = json.loads(run.stdout)
        run = CliRunner().invoke(cli, ["capture", "lamps", "off", "--rig", str(tmp_path / "rig.toml")])

    assert (facts["state"], facts["confirmed"], facts["board"]) == ("on", True, "kmtronic-8")
    assert run.output == "The lamps are off\n"
    assert [line["on"] for line in switchings(tmp_path)] == [True, False]


def test_without_a_rig_the_command_says_what_to_give() -> None:
    run = CliRunner().invoke(cli, ["capture", "lamps", "on"])

    assert run.exit_code == 2
    assert "--rig RIG.toml for a real studio" in run.output
    assert "--emulate" in run.output


def test_a_board_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match="does not exist; plug the board in"):
        lamps_off(Rig(str(tmp_path / "nothing"), "no camera"))
