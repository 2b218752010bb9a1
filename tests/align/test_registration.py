"""Registration: the true map is found although the light changed, and its direction is the one promised."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from deepflash.affine import IDENTITY, compose
from deepflash.align.registration import Method, Registration, register
from deepflash.errors import AlignError
from deepflash.faces import find_faces
from deepflash.pairs import Face
from deepflash.pictures import Picture, read_rgb

from .sitters import face_of, in_flash_light, mean_error, motion, moved, pair_of, portrait

REAL = Path(__file__).parents[3] / "shared" / "data" / "pairs" / "deepflash"
WIDTH = 780
TOLERANCE_PX = 0.0005 * WIDTH  # 1.5 px at 13 megapixels


@pytest.mark.parametrize("name", ["astronaut", "hopper"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_known_motion_is_found_in_changed_light(name: str, seed: int) -> None:
    flash, studio, truth = pair_of(name, seed, WIDTH)
    face = face_of(name, WIDTH)

    registration = register(flash, studio, fixed_face=face, moving_face=None)

    assert mean_error(registration.moving_from_fixed, truth, face) < TOLERANCE_PX
    assert mean_error(IDENTITY, truth, face) > 10 * TOLERANCE_PX


def test_the_map_takes_fixed_pixels_to_moving_pixels() -> None:
    """And `cv2.warpAffine` with WARP_INVERSE_MAP lays the moving picture on the fixed one with it."""
    fixed = portrait("hopper", 520)
    known = np.array([[1.02, 0.03, 9.0], [-0.03, 1.02, 14.0]])
    moving = cv2.warpAffine(fixed, known, (520, fixed.shape[0]), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    face = face_of("hopper", 520)

    found = register(fixed, moving, fixed_face=face, moving_face=None).moving_from_fixed

    assert mean_error(found, known, face) < 0.1
    laid = cv2.warpAffine(moving, found, (520, fixed.shape[0]), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    inside = (slice(120, 500), slice(100, 420))
    assert (
        np.abs(laid[inside].astype(float) - fixed[inside]).mean()
        < 0.25 * np.abs(moving[inside].astype(float) - fixed[inside]).mean()
    )


@pytest.mark.parametrize("method", get_args(Method))
def test_every_run_gives_the_same_bits(method: Method) -> None:
    """Wherever in memory the pictures lie: `cv2.magnitude`, for one, rounds by the address of its result."""
    flash, studio, _ = pair_of("astronaut", 5, 195)

    results = set()
    for size in (1, 17, 33):
        elsewhere = [np.empty(size, np.uint8) for _ in range(50)]
        results.add(_bits(register(flash, studio, fixed_face=face_of("astronaut", 195), moving_face=None, method=method)))
        del elsewhere

    assert len(results) == 1


def _bits(registration: Registration) -> bytes:
    back = registration.fixed_from_moving
    arrays = (registration.moving_from_fixed, registration.matches.found, np.float64(registration.metric))
    return b"".join(array.tobytes() for array in arrays) + (b"" if back is None else back.tobytes())


_REGISTERING = """
import hashlib, sys
import cv2
cv2.setNumThreads(int(sys.argv[1]))
from tests.align.sitters import face_of, pair_of
from tests.align.test_registration import _bits
from deepflash.align.registration import Method, Registration, register
flash, studio, _ = pair_of("hopper", 5, 520)
for method in ("refined", "mattes"):
    registration = register(flash, studio, fixed_face=face_of("hopper", 520), moving_face=None, method=method)
    print(hashlib.sha256(_bits(registration)).hexdigest())
"""


def test_the_number_of_threads_changes_no_bit() -> None:
    def registered(threads: int) -> str:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads)), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", _REGISTERING, str(threads)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    one = registered(1)

    assert len(one.split()) == 2
    assert registered(2) == one
    assert registered(4) == one


@pytest.mark.parametrize("method", ["mattes", "refined"])
def test_the_way_back_is_found_on_its_own_and_agrees(method: Method) -> None:
    flash, studio, truth = pair_of("hopper", 7, WIDTH)
    face = face_of("hopper", WIDTH)

    registration = register(flash, studio, fixed_face=face, moving_face=None, method=method)

    there, back = registration.moving_from_fixed, registration.fixed_from_moving
    assert back is not None
    assert mean_error(compose(back, truth), IDENTITY, face) < TOLERANCE_PX
    assert 1e-4 < mean_error(compose(back, there), IDENTITY, face) < TOLERANCE_PX


def test_strangers_disagree_forward_and_backward() -> None:
    """What quality control sees of a map that fits nothing."""
    flash, _, _ = pair_of("hopper", 1, 390)
    _, studio, _ = pair_of("astronaut", 1, 390)
    face = face_of("hopper", 390)

    registration = register(flash, studio, fixed_face=face, moving_face=face_of("astronaut", 390))

    back = registration.fixed_from_moving
    assert back is None or mean_error(compose(back, registration.moving_from_fixed), IDENTITY, face) > 10 * 0.0005 * 390


def test_gradients_alone_come_within_a_few_pixels() -> None:
    flash, studio, truth = pair_of("astronaut", 8, WIDTH)
    face = face_of("astronaut", WIDTH)

    registration = register(flash, studio, fixed_face=face, moving_face=None, method="mattes")

    assert registration.method == "mattes"
    assert mean_error(registration.moving_from_fixed, truth, face) < 3 * TOLERANCE_PX


@pytest.mark.parametrize("angle_deg", [-14, 14])
def test_a_picture_that_is_turned_far_is_followed(angle_deg: float) -> None:
    flash, _, _ = pair_of("hopper", 9, 520)
    turn = cv2.getRotationMatrix2D((259.5, 346.0), angle_deg, 1.0)
    turned = moved(portrait("hopper", 520), turn)

    found = register(flash, turned, fixed_face=face_of("hopper", 520), moving_face=None).moving_from_fixed

    assert mean_error(found, turn, face_of("hopper", 520)) < 0.5


@pytest.mark.parametrize("share", [0.15, 0.8])
def test_faces_from_far_and_near_are_followed(share: float) -> None:
    """A face as wide as 15 % of the picture, and 80 %."""
    picture, face = _framed("hopper", 1040, share)
    truth = motion(4, *picture.shape[1::-1])

    found = register(in_flash_light(picture, 4), moved(picture, truth), fixed_face=face, moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face) < 1.5 * 1040 / 3120


def _framed(name: str, width: int, share: float) -> tuple[Picture, Face]:
    """Return a portrait before a wall of soft spots, the face's box `share` of the picture wide and in its middle."""
    source, face = portrait(name, 1040), face_of(name, 1040)
    left, top, right, bottom = face.box
    scale, height = share * width / (right - left), width * 4 // 3
    place = np.array([[scale, 0, width / 2 - scale * (left + right) / 2], [0, scale, height / 2 - scale * (top + bottom) / 2]])
    wall = np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)
    picture = cv2.GaussianBlur(wall, (0, 0), width / 60)
    cv2.warpAffine(source, place, (width, height), dst=picture, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    half = share * width / 2
    return picture, Face((width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half), {})


@pytest.mark.parametrize("width", [100, 200])
def test_small_pictures_are_followed_to_half_a_pixel_of_theirs(width: int) -> None:
    flash, studio, truth = pair_of("hopper", 21, width)
    face = face_of("hopper", width)

    found = register(flash, studio, fixed_face=face, moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face) < 0.5


def test_a_flash_picture_of_a_twentieth_of_the_light_is_followed() -> None:
    flash, studio, truth = pair_of("hopper", 22, WIDTH)
    noise = np.random.default_rng(22).normal(0, 1.5, flash.shape)
    dark = np.asarray(np.clip(flash * 0.05 + noise, 0, 255), np.uint8)

    found = register(dark, studio, fixed_face=face_of("hopper", WIDTH), moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face_of("hopper", WIDTH)) < TOLERANCE_PX


def test_a_picture_registered_with_itself_does_not_move() -> None:
    picture = portrait("hopper", 390)

    registration = register(picture, picture, fixed_face=None, moving_face=None)

    assert mean_error(registration.moving_from_fixed, IDENTITY, face_of("hopper", 390)) < 0.05


def test_without_a_face_the_middle_of_the_picture_is_registered() -> None:
    flash, studio, truth = pair_of("hopper", 3, 520)

    found = register(flash, studio, fixed_face=None, moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face_of("hopper", 520)) < 1.0


def test_a_face_that_moved_far_is_followed_by_where_it_was_found() -> None:
    flash, studio, truth = pair_of("astronaut", 3, 520)
    far = np.array([[1.0, 0.0, 95.0], [0.0, 1.0, 60.0]])
    face = face_of("astronaut", 520)
    left, top, right, bottom = face.box

    found = register(
        flash, moved(studio, far), fixed_face=face, moving_face=Face((left + 95, top + 60, right + 95, bottom + 60))
    ).moving_from_fixed

    assert mean_error(found, compose(far, truth), face) < 0.5


def test_gray_pictures_serve_as_well() -> None:
    flash, studio, truth = pair_of("hopper", 4, 390)
    gray = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in (flash, studio)]

    found = register(gray[0], gray[1], fixed_face=face_of("hopper", 390), moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face_of("hopper", 390)) < 0.5


def _noise(seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (300, 240, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("flash", "studio"),
    [
        (_noise(1), _noise(2)),
        (np.zeros((300, 240, 3), np.uint8), _noise(3)),
        (np.zeros((300, 240, 3), np.uint8), np.full((300, 240, 3), 255, np.uint8)),
        (portrait("astronaut", 240)[:300], moved(portrait("astronaut", 240)[:300], np.array([[1.0, 0, 190], [0, 1, 0]]))),
    ],
    ids=["noise", "black and noise", "flat", "hardly overlapping"],
)
def test_what_cannot_be_registered_is_no_crash_and_never_worse_than_leaving_it(flash: Picture, studio: Picture) -> None:
    registration = register(flash, studio, fixed_face=None, moving_face=None)

    assert np.isfinite(registration.moving_from_fixed).all()
    assert registration.metric >= registration.metric_before


def test_pictures_of_unequal_size_are_refused() -> None:
    with pytest.raises(AlignError, match="240 x 300 and 240 x 200"):
        register(_noise(1), _noise(1)[:200], fixed_face=None, moving_face=None)


def test_tiny_pictures_are_refused() -> None:
    with pytest.raises(AlignError, match="too small"):
        register(_noise(1)[:40], _noise(1)[:40], fixed_face=None, moving_face=None)


def test_pictures_of_one_gray_stay_where_they_are() -> None:
    gray = np.full((200, 200), 128, np.uint8)

    registration = register(gray, gray, fixed_face=None, moving_face=None)

    assert registration.method == "identity"
    assert np.array_equal(registration.moving_from_fixed, IDENTITY)


def test_a_blink_and_a_highlight_do_not_pull_the_map() -> None:
    flash, studio, truth = pair_of("hopper", 6, WIDTH)
    face = face_of("hopper", WIDTH)
    for eye in ("left_eye", "right_eye"):
        x, y = np.mean(face.landmarks[eye], axis=0).astype(int)
        region = (slice(y - 40, y + 40), slice(x - 60, x + 60))
        flash[region] = cv2.GaussianBlur(in_flash_light(flash, 1)[region], (0, 0), 15)

    found = register(flash, studio, fixed_face=face, moving_face=None).moving_from_fixed

    assert mean_error(found, truth, face) < TOLERANCE_PX


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
@pytest.mark.parametrize("name", ["01", "07"])
def test_a_real_studio_portrait_that_is_moved_is_followed_to_a_pixel_at_13_megapixels(name: str) -> None:
    """Without a true map at hand: what is found for the moved portrait is the motion after what is found for the other."""
    flash, studio = (read_rgb(REAL / f"{name}_{light}.jpg") for light in ("flash", "studio"))
    face = find_faces(flash)[0]
    step = motion(int(name), *studio.shape[1::-1])

    still = register(flash, studio, fixed_face=face, moving_face=None).moving_from_fixed
    after = register(flash, moved(studio, step), fixed_face=face, moving_face=None).moving_from_fixed

    assert mean_error(after, compose(step, still), face) * 3120 / 2000 < 1.0
