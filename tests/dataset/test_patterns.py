"""A pattern says what a file is by its name, and nothing else than what was meant."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.dataset.patterns import sorter_of
from deepflash.dataset.sources import Placed
from deepflash.errors import DatasetError


@pytest.mark.parametrize(
    ("pattern", "path", "placed"),
    [
        ("{subject}/{pose}_{light}.jpg", "anna/left_flash.jpg", Placed("flash", "anna", pose="left")),
        ("{subject}/{pose}_{light}.jpg", "Anna B/LEFT_NoFlash.JPG", Placed("studio", "Anna B", pose="LEFT")),
        ("{subject}/{pose}_{light}.jpg", "anna/left_no_flash.jpg", Placed("studio", "anna", pose="left")),
        ("{subject}/{pose}_{light}.jpg", "a/anna/left_flash.jpg", None),
        ("{subject}/{pose}_{light}.jpg", "anna/left_flash.jpg.bak", None),
        ("{subject}/{pose}_{light}.jpg", "anna/left_flashjpg", None),
        ("{subject}/{pose}_{light}.jpg", "/left_flash.jpg", None),
        ("{subject}/*_{light}.*", "anna/IMG_0001_ambient.tiff", Placed("studio", "anna")),
        ("**/{subject}-{light}.*", "a/b/c/anna-flash.png", Placed("flash", "anna")),
        ("**/{subject}-{light}.*", "anna-flash.png", Placed("flash", "anna")),
        ("{subject}_{take}_{light}.*", "a.b_1_flash.tar.png", None),
        ("{subject}_{take}_{light}.*", "a.b_1_flash.png", Placed("flash", "a.b", take="1")),
        ("{subject}/{subject}_{light}.png", "anna/anna_flash.png", Placed("flash", "anna")),
        ("{subject}/{subject}_{light}.png", "anna/bo_flash.png", None),
        ("{session}/{subject}/{take}/{light}?.png", "1/anna/2/flashx.png", Placed("flash", "anna", "1", "2")),
        ("{subject}_{light}(1).jpg", "anna_flash(1).jpg", Placed("flash", "anna")),
        ("{subject}_{light}\n.jpg", "anna_flash\n.jpg", Placed("flash", "anna")),
    ],
)
def test_a_pattern_takes_what_it_describes_and_leaves_all_else(pattern: str, path: str, placed: Placed | None) -> None:
    assert sorter_of(pattern)(path) == placed


def test_the_words_for_the_two_lights_are_the_sources_own() -> None:
    sort = sorter_of("{light}/{subject}.png", {"flash": ("inputs_origin",), "studio": ("target", "a+b")})
    assert sort("inputs_origin/1.png") == Placed("flash", "1")
    assert sort("Target/1.png") == Placed("studio", "1")
    assert sort("a+b/1.png") == Placed("studio", "1")
    assert sort("aab/1.png") is None


@given(subject=st.text(min_size=1).filter(lambda text: "/" not in text), light=st.sampled_from(["flash", "studio", "ambient"]))
def test_any_name_of_a_person_comes_through(subject: str, light: str) -> None:
    placed = sorter_of("{subject}/{light}.jpg")(f"{subject}/{light}.jpg")
    assert placed is not None
    assert placed.subject == subject


@given(start=st.text(alphabet="(){}[]*+?.\\^$|ab/", max_size=12).filter(lambda text: "***" not in text))
def test_a_pattern_is_no_regular_expression(start: str) -> None:
    """Whatever signs a pattern holds, it is refused in a sentence or stands for itself."""
    try:
        sort = sorter_of(start + "/{subject}_{light}.jpg")
    except DatasetError:
        return
    literal = f"{start}/".replace("**/", "").replace("*", "").replace("?", "x")
    if not set(start) & set("{}"):
        assert sort(f"{literal}anna_flash.jpg") is not None


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{pose}_{light}.jpg", "lacks {subject}; write one such as {subject}/{pose}_{light}.jpg"),
        ("{subject}.jpg", "lacks {light}"),
        ("{subject}_{light}_{name}.jpg", "has the field {name}; known are {subject}, {session}, {take}, {pose}, {light}"),
        ("{subject}{light}.jpg", "nothing parts {light} from what is before it; put a sign between"),
        ("*{subject}_{light}.jpg", "nothing parts {subject}"),
        ("*a" * 20 + "{subject}_{light}", "has 22 fields and stars; 12 are the most"),
        ("{}_{subject}_{light}.jpg", "has the field {}"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(pattern: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        sorter_of(pattern)


@pytest.mark.parametrize(
    ("flash", "studio", "sentence"),
    [
        (("a",), ("A",), "'A' stands for both photographs"),
        ((), ("a",), "no word is given for the flash photograph"),
        (("",), ("a",), "'' cannot stand for a light"),
        (("a/b",), ("a",), "'a/b' cannot stand for a light"),
    ],
)
def test_words_that_tell_nothing_apart_are_refused(flash: tuple[str, ...], studio: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        sorter_of("{subject}_{light}.jpg", {"flash": flash, "studio": studio})
