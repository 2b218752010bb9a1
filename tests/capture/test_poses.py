"""Pose lists and subjects' files: what a person writes, and what is refused."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from deepflash.capture.poses import POSES, load_poses, named_poses
from deepflash.capture.subjects import Subject, find_subjects, read_subject, save_subject
from deepflash.errors import CaptureError, PairError


def test_a_pose_list_is_read_with_prompts_and_pictograms(tmp_path: Path) -> None:
    (tmp_path / "wave.png").write_bytes(b"a picture")
    (tmp_path / "poses.toml").write_text(
        '[[pose]]\nname = "wave"\nprompt = "Winke!"\npictogram = "wave.png"\n[[pose]]\nname = "frontal"\n'
    )
    wave, frontal = load_poses(tmp_path / "poses.toml")
    assert (wave.name, wave.prompt, wave.pictogram, wave.media_type) == ("wave", "Winke!", b"a picture", "image/png")
    assert frontal.prompt == "Look straight into the camera"


def test_every_usual_pose_has_a_prompt_and_a_pictogram_of_its_own() -> None:
    poses = named_poses(POSES)
    assert len({pose.pictogram for pose in poses}) == len({pose.prompt for pose in poses}) == len(POSES)
    for pose in poses:
        assert ET.fromstring(pose.pictogram).tag.endswith("svg")


def test_what_a_pose_does_not_show_is_not_to_be_checked(tmp_path: Path) -> None:
    (tmp_path / "poses.toml").write_text('[[pose]]\nname = "hood"\nface = false\n')
    shown = {pose.name: (pose.face, pose.eyes) for pose in (*named_poses(POSES), *load_poses(tmp_path / "poses.toml"))}
    assert shown["hood"] == (False, True)
    assert shown["eyes-closed"] == (True, False)
    assert not shown["profile"][0]
    assert shown["frontal"] == shown["left"] == (True, True)


def test_a_pose_with_another_name_is_its_own_prompt() -> None:
    (pose,) = named_poses(("chin-on_hand",))
    assert (pose.prompt, pose.pictogram) == ("Chin on hand", b"")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a pose list"),
        ("pose = 3", "is not a pose list"),
        ('other = 1\n[[pose]]\nname = "up"', "is not a pose list"),
        ("[[pose]\n", "is not a readable TOML file"),
        ("[[pose]]\nname = 3", "name = 3 is not for a"),
        ('[[pose]]\nprompt = "x"', "has no name"),
        ('[[pose]]\nname = "up"\nsound = "x"', "sound = 'x' is not for a"),
        ('[[pose]]\nname = "../up"', "is not a pose id"),
        ('[[pose]]\nname = "up"\n[[pose]]\nname = "up"', "make no plan"),
        ('[[pose]]\nname = "up"\nprompt = ""', "has 0 characters"),
        ('[[pose]]\nname = "up"\npictogram = "../secret.png"', "beside the list"),
        ('[[pose]]\nname = "up"\npictogram = "/etc/passwd"', "beside the list"),
        ('[[pose]]\nname = "up"\npictogram = "none.svg"', "cannot be read"),
    ],
)
def test_a_pose_list_that_is_none_is_refused_with_its_name(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "poses.toml"
    path.write_text(text)
    with pytest.raises((CaptureError, PairError), match=sentence) as caught:
        load_poses(path)
    assert str(path) in str(caught.value)


def test_a_missing_pose_list_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="does not exist"):
        load_poses(tmp_path / "none.toml")


def test_a_subject_and_its_consent_are_found_again(tmp_path: Path) -> None:
    save_subject(tmp_path, Subject("S002", "form 7"))
    (tmp_path / "S001").mkdir()
    (tmp_path / "not a subject").mkdir()
    assert read_subject(tmp_path, "S002").consent == "form 7"
    assert [standing.subject.id for standing in find_subjects(tmp_path)] == ["S001", "S002"]


@pytest.mark.parametrize("consent", ["x" * 101, "two\nlines"])
def test_a_consent_reference_is_one_short_line(consent: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="a consent reference is one line"):
        save_subject(tmp_path, Subject("S001", consent))


def test_a_subject_that_is_no_safe_id_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(PairError, match="is not a subject id"):
        save_subject(tmp_path / "raw", Subject("../S001"))
    assert list(tmp_path.iterdir()) == []
