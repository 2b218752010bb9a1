"""Whose portrait it is: the same person's face in both photographs, and in the registered one.

Capece et al. 2019, section 4.1, find the face in M (studio), R (flash) and M' (studio, registered). M' is M seen through
the map, so its face is M's seen through the map, too: no pixels need be made for it.
"""

from dataclasses import dataclass

from deepflash.affine import Affine, inverse
from deepflash.faces import find_near, find_subject, map_face, may_be_one, subject_face
from deepflash.pairs import Face
from deepflash.pictures import Picture


@dataclass(frozen=True)
class Faces:
    """The subject's face in each photograph, or None where it was not found there."""

    flash: Face | None
    studio: Face | None


@dataclass(frozen=True)
class Located:
    """The subject's face in the paper's three pictures: R, M (in their own pixels) and M' (in pixels of R)."""

    flash: Face | None
    studio: Face | None
    registered: Face | None


def find_pair_faces(flash: Picture, studio: Picture) -> Faces:
    """Find the same person's face in both photographs of a pair.

    The subject of the studio photograph, which is lit better, leads; where the flash photograph shows no such face, one
    is sought with more effort about the same place. If none is there, the subject of the flash photograph leads. Two
    photographs with one face each show one person, who may have moved far.

    Parameters
    ----------
    flash, studio
        (H, W, 3) RGB `uint8`, equal in size.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    flash_faces, studio_faces = find_subject(flash), find_subject(studio)
    height, width = studio.shape[:2]
    flash_subject, studio_subject = (subject_face(faces, width, height) for faces in (flash_faces, studio_faces))
    if studio_subject is not None:
        same = _same(flash, studio_subject, flash_faces)
        if same is not None or flash_subject is None:
            return Faces(same, studio_subject)
    if flash_subject is not None:
        same = _same(studio, flash_subject, studio_faces)
        if same is not None or studio_subject is None:
            return Faces(flash_subject, same)
    if len(flash_faces) == len(studio_faces) == 1:
        return Faces(flash_subject, studio_subject)
    return Faces(None, studio_subject)


def locate(faces: Faces, moving_from_fixed: Affine) -> Located:
    """Take a face that was found in one photograph only to the other one, and the studio face to the registered one."""
    flash, studio = faces.flash, faces.studio
    if studio is None and flash is not None:
        studio = map_face(flash, moving_from_fixed)
        return Located(flash, studio, flash)
    registered = None if studio is None else map_face(studio, inverse(moving_from_fixed))
    return Located(flash or registered, studio, registered)


def _same(picture: Picture, subject: Face, faces: list[Face]) -> Face | None:
    """Return the subject of the other photograph in this one."""
    near = [face for face in faces if may_be_one(face, subject)]
    if not near:
        return find_near(picture, subject)
    return subject_face(near, picture.shape[1], picture.shape[0])
