"""The twenty variants show what their geometry says, both pictures alike, in one interpolation."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deepflash.affine import apply, compose, inverse
from deepflash.coverage import valid_fraction, valid_mask
from deepflash.dataset.variant_set import Variant, VariantSet, paper_variants
from deepflash.dataset.variants import Rendered, face_of, flash_from_sample, render_variants
from deepflash.errors import DatasetError, PictureError
from deepflash.faces import map_face
from deepflash.pairs import Alignment, Face
from deepflash.pictures import Picture
from deepflash.shards import is_unaugmented

MakeAlignment = Callable[..., Alignment]
SIZE = 96


def rendered(alignment: Alignment, angle_deg: int, frame: str, mirrored: bool, size: int = SIZE) -> Rendered:
    """One variant; a set holds the photograph as taken, too, which is not rendered twice."""
    wanted, plain = Variant(angle_deg, frame, mirrored), Variant(0, "wide", False)  # type: ignore[arg-type]
    variants = VariantSet(tuple(dict.fromkeys((wanted, plain))), 1.5)
    return next(render_variants(alignment, size, variants=variants))


def mean_difference(a: Picture, b: Picture) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_there_are_exactly_the_papers_twenty_and_the_first_is_the_photograph_as_taken() -> None:
    expected = set(itertools.product((-20, -10, 0, 10, 20), ("wide", "face"), (False, True)))
    variants = paper_variants().variants
    assert len(variants) == 20
    assert {(v.angle_deg, v.frame, v.mirrored) for v in variants} == expected
    infos = [{"variant": dataclasses.asdict(variant)} for variant in variants]
    assert [is_unaugmented(info) for info in infos] == [True] + [False] * 19


def test_both_pictures_of_every_variant_show_the_same_thing(make_alignment: MakeAlignment) -> None:
    """The studio photograph was made from the flash one by the known transform, so the two must agree again."""
    for variant in render_variants(make_alignment(suffix=".png"), SIZE):
        assert variant.flash.shape == variant.studio.shape == (SIZE, SIZE, 3)
        inner = slice(20, 76)
        assert mean_difference(variant.flash[inner, inner], variant.studio[inner, inner]) < 1.5, variant.info["variant"]


def test_the_direction_of_the_transform_matters_and_is_the_documented_one(make_alignment: MakeAlignment) -> None:
    alignment = make_alignment(suffix=".png")
    backwards = inverse(np.array(alignment.moving_from_fixed))
    wrong = dataclasses.replace(alignment, moving_from_fixed=tuple(tuple(row) for row in backwards.tolist()))
    right_way, wrong_way = (next(render_variants(a, SIZE)) for a in (alignment, wrong))
    assert mean_difference(wrong_way.flash, wrong_way.studio) > 5 * mean_difference(right_way.flash, right_way.studio)


def test_the_wide_frame_is_the_photographs_largest_square_around_the_face(
    make_alignment: MakeAlignment, astronaut: Picture
) -> None:
    """390 x 520 with the face's centre at y 150: the square reaches the upper edge, and the lower 130 lines are left out."""
    picture = rendered(make_alignment(suffix=".png"), 0, "wide", False, size=390).flash
    np.testing.assert_array_equal(picture, astronaut[:390])


def test_the_face_frame_is_one_and_a_half_boxes_about_the_centre_of_the_face(make_alignment: MakeAlignment) -> None:
    sample = rendered(make_alignment(), 0, "face", False)
    expected = [SIZE * (1 - 1 / 1.5) / 2 - 0.5, SIZE * (1 + 1 / 1.5) / 2 - 0.5]
    np.testing.assert_allclose(sample.info["face_box"], [expected[0], expected[0], expected[1], expected[1]], atol=0.01)


def test_a_mirrored_variant_is_the_mirror_image(make_alignment: MakeAlignment) -> None:
    alignment = make_alignment()
    for frame, angle in (("wide", 0), ("face", 20)):
        plain, mirrored = rendered(alignment, angle, frame, False), rendered(alignment, angle, frame, True)
        np.testing.assert_array_equal(plain.flash[:, ::-1], mirrored.flash)
        np.testing.assert_array_equal(plain.studio[:, ::-1], mirrored.studio)


def test_a_positive_angle_turns_the_content_counter_clockwise_about_the_face(make_alignment: MakeAlignment) -> None:
    """Against OpenCV's own rotation, whose positive angles are counter-clockwise by its manual."""
    alignment = make_alignment()
    upright, turned = rendered(alignment, 0, "face", False), rendered(alignment, 20, "face", False)
    rotation = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), 20, 1)
    expected = cv2.warpAffine(upright.flash, rotation, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
    inner = slice(24, 72)
    assert mean_difference(np.asarray(expected, dtype=np.uint8)[inner, inner], turned.flash[inner, inner]) < 3


def test_the_centre_of_the_face_does_not_move_when_the_picture_is_turned() -> None:
    face = Face((140, 90, 260, 210))
    places = []
    for angle in (-20, 0, 10):
        matrix = flash_from_sample(Variant(angle, "wide", False), face, (390, 520), SIZE, 1.5)
        places.append(apply(inverse(matrix), np.array([(200.0, 150.0)]))[0])
    np.testing.assert_allclose(places, [places[0]] * 3, atol=1e-9)


def test_boxes_and_landmarks_travel_along(make_alignment: MakeAlignment) -> None:
    """A mark painted on a landmark is found where the sample says the landmark is."""
    flash = np.full((520, 390, 3), 40, np.uint8)
    cv2.circle(flash, (200, 165), 9, (250, 250, 250), -1)
    alignment = make_alignment(flash=flash, suffix=".png")
    for variant in render_variants(alignment, 260):
        for picture in (variant.flash, variant.studio):
            weight = np.clip(picture[..., 0].astype(float) - 60, 0, None)
            y, x = np.mgrid[:260, :260]
            found = (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()
            np.testing.assert_allclose(found, variant.info["landmarks"]["nose_tip"][0], atol=0.25)
        left, top, right, bottom = variant.info["face_box"]
        assert left < found[0] < right
        assert top < found[1] < bottom


def test_left_stays_left_as_seen_when_the_picture_is_mirrored(make_alignment: MakeAlignment) -> None:
    for variant in render_variants(make_alignment(), SIZE):
        marks = variant.info["landmarks"]
        assert np.mean(marks["left_eye"], axis=0)[0] < np.mean(marks["right_eye"], axis=0)[0]


def test_the_stored_matrices_lead_from_the_sample_to_both_photographs(make_alignment: MakeAlignment) -> None:
    alignment = make_alignment()
    info = rendered(alignment, -10, "face", True).info
    expected = compose(np.array(alignment.moving_from_fixed), np.array(info["flash_from_sample"]))
    np.testing.assert_allclose(info["studio_from_sample"], expected, atol=1e-9)
    face = map_face(face_of(alignment), inverse(np.array(info["flash_from_sample"])))
    np.testing.assert_allclose(face.box, info["face_box"], atol=1e-3)


def test_the_share_of_the_sample_that_is_real_is_stored(make_alignment: MakeAlignment) -> None:
    """With a studio photograph shifted by 39 of 390 pixels, a tenth of the plain wide frame repeats an edge."""
    alignment = make_alignment(moving_from_fixed=((1.0, 0.0, 39.0), (0.0, 1.0, 0.0)))
    assert rendered(alignment, 0, "wide", False).info["valid_fraction"] == pytest.approx(0.9)
    assert rendered(alignment, 0, "face", False).info["valid_fraction"] == 1
    turned = rendered(alignment, 20, "wide", False).info["valid_fraction"]
    assert 0.6 < turned < 0.9


def test_the_mask_of_valid_pixels_is_where_no_edge_is_repeated(make_alignment: MakeAlignment) -> None:
    """A photograph whose red is its column and whose green is its line: outside, a pixel shows the edge's, not its own."""
    y, x = np.mgrid[:520, :390]
    photograph = np.dstack([x * 255 / 389, y * 255 / 519, 0 * x]).round().astype(np.uint8)
    alignment = make_alignment(flash=photograph, suffix=".png", moving_from_fixed=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    sample = rendered(alignment, 20, "wide", False, size=130)
    mask = valid_mask(sample.info)
    assert mask.mean() == pytest.approx(sample.info["valid_fraction"], abs=0.01)
    rows, columns = np.mgrid[:130, :130]
    there = apply(np.array(sample.info["flash_from_sample"]), np.column_stack([columns.ravel(), rows.ravel()]))
    off = np.abs(sample.flash.reshape(-1, 3)[:, :2] - there * (255 / 389, 255 / 519)).max(axis=1).reshape(130, 130)
    assert off[mask].max() < 3
    assert off[mask].mean() < 0.5
    assert (off[~mask] > 1).mean() > 0.9  # the others lie on the rim


def test_a_large_face_never_asks_for_more_than_the_photograph_holds() -> None:
    matrix = flash_from_sample(Variant(0, "face", False), Face((20, 60, 380, 420)), (390, 520), SIZE, 1.5)
    assert np.linalg.norm(matrix[:, 0]) * SIZE == pytest.approx(390)


@given(
    width=st.integers(64, 5000),
    height=st.integers(64, 5000),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    side=st.floats(0.02, 1.5),
    size=st.integers(16, 600),
    mirrored=st.booleans(),
)
def test_a_frame_that_is_not_turned_never_leaves_the_photograph(
    width: int, height: int, place: tuple[float, float], side: float, size: int, mirrored: bool
) -> None:
    x, y, half = place[0] * width, place[1] * height, side * min(width, height) / 2
    face = Face((x - half, y - half, x + half, y + half))
    for frame in ("wide", "face"):
        matrix = flash_from_sample(Variant(0, frame, mirrored), face, (width, height), size, 1.5)  # type: ignore[arg-type]
        assert valid_fraction(size, (matrix, (width, height))) == pytest.approx(1, abs=1e-4)


def test_one_interpolation_keeps_what_registering_first_and_rotating_then_would_blur(
    make_alignment: MakeAlignment, astronaut: Picture
) -> None:
    """Measured on a crop of about the photograph's own scale, against the photograph interpolated directly from the truth."""
    alignment = make_alignment(suffix=".png")
    once = rendered(alignment, 10, "face", False, size=180)
    from_sample = np.array(once.info["flash_from_sample"])
    studio = np.asarray(Image.open(alignment.studio))
    registered = cv2.warpAffine(
        studio, np.array(alignment.moving_from_fixed), (390, 520), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    in_steps = cv2.warpAffine(registered, from_sample, (180, 180), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert mean_difference(once.flash, once.studio) < 0.6 * mean_difference(once.flash, np.asarray(in_steps, dtype=np.uint8))


def test_one_interpolation_gains_several_decibels_over_reducing_first_and_turning_then(make_alignment: MakeAlignment) -> None:
    """The studio picture of a turned variant, against the average of 144 bicubic points in each of its pixels."""
    alignment = make_alignment(suffix=".png")
    once = rendered(alignment, 10, "wide", False)
    upright, turned = (np.array(sample.info["flash_from_sample"]) for sample in (rendered(alignment, 0, "wide", False), once))
    moving_from_fixed = np.array(alignment.moving_from_fixed)
    studio = np.asarray(Image.open(alignment.studio))
    options = {"flags": cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    truth = np.zeros((SIZE, SIZE, 3))
    for dx, dy in itertools.product((np.arange(12) + 0.5) / 12 - 0.5, repeat=2):
        point = np.array([[1, 0, dx], [0, 1, dy]])
        truth += cv2.warpAffine(studio.astype(np.float32), compose(moving_from_fixed, turned, point), (SIZE, SIZE), **options)
    truth /= 144
    registered = cv2.warpAffine(studio, moving_from_fixed, (390, 520), **options)
    reduced = cv2.resize(registered[:390], (SIZE, SIZE), interpolation=cv2.INTER_AREA)  # the wide frame reaches the upper edge
    in_steps = cv2.warpAffine(reduced, compose(inverse(upright), turned), (SIZE, SIZE), **options)
    inner = (slice(24, 72), slice(24, 72))
    error_once, error_in_steps = (((picture[inner] - truth[inner]) ** 2).mean() for picture in (once.studio, in_steps))
    assert 10 * np.log10(error_in_steps / error_once) > 6


def test_a_face_found_only_under_studio_light_is_taken_over(make_alignment: MakeAlignment) -> None:
    alignment = make_alignment()
    there = map_face(face_of(alignment), np.array(alignment.moving_from_fixed))
    other = dataclasses.replace(alignment, flash_face=None, studio_face=there)
    known, taken = face_of(alignment), face_of(other)
    np.testing.assert_allclose(taken.landmarks["nose_tip"], known.landmarks["nose_tip"], atol=1e-6)
    assert math.dist(taken.box[:2], known.box[:2]) < 8  # the box around a turned box is a little larger


def test_a_pair_without_any_face_is_refused(make_alignment: MakeAlignment) -> None:
    with pytest.raises(DatasetError, match=r"pair S001-a-01 has no face .* photograph it again.* wide frame alone"):
        next(render_variants(make_alignment(flash_face=None), SIZE))


def test_without_any_face_the_middle_is_cut_out_if_no_variant_wants_one(
    make_alignment: MakeAlignment,
) -> None:
    """Such as the landscapes of EBB!; the photograph is 390 x 520."""
    alignment = make_alignment(flash_face=None)
    (sample,) = render_variants(alignment, SIZE, variants=VariantSet((Variant(0, "wide", False),), 1.5))
    middle = np.asarray(Image.open(alignment.flash))[65:455]
    assert mean_difference(sample.flash, cv2.resize(middle, (SIZE, SIZE), interpolation=cv2.INTER_AREA)) < 1
    assert "face_box" not in sample.info


def test_a_photograph_of_another_size_than_registered_is_refused(make_alignment: MakeAlignment) -> None:
    with pytest.raises(
        DatasetError, match=r"studio photograph of pair S001-a-01 is 390 x 520 .* 400 x 520 .* run align batch again"
    ):
        next(render_variants(make_alignment(studio_size=(400, 520)), SIZE))


def test_a_truncated_photograph_is_refused(make_alignment: MakeAlignment) -> None:
    alignment = make_alignment()
    content = alignment.studio.read_bytes()
    alignment.studio.write_bytes(content[: len(content) // 2])
    with pytest.raises(PictureError, match=r"studio.jpg is truncated"):
        next(render_variants(alignment, SIZE))
