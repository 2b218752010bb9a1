"""Many photographs into a folder of portraits."""

from collections.abc import Iterable
from pathlib import Path

from deepflash.accounts import Account, SetAside
from deepflash.errors import PictureError
from deepflash.files import write_durably
from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
from deepflash.photos import encode_photo, read_photo
from deepflash.progress import Report, silent


def enhance_files(photos: Iterable[Path], out: Path, run: Path, *, force: bool = False, report: Report = silent) -> Account:
    """Enhance photographs into a folder: `STEM.png` for PNG, else `STEM.jpg`, quality 95, without metadata.

    Parameters
    ----------
    photos
        Files; one that cannot be used is set aside with its reason.
    out
        Folder of the results.
    run
        Folder of the run to use.
    force
        Make results anew that exist already; else they are skipped.
    report
        Called after every photograph.

    Raises
    ------
    ModelError
        if the run cannot be used.
    PictureError
        if `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise PictureError(f"{out} is a file; give a folder for the portraits")
    enhancer = load_enhancer(run)
    account = Account(unit="photograph")
    taken: dict[Path, Path] = {}
    listed = list(photos)
    for number, photo in enumerate(listed, start=1):
        result = out / f"{photo.stem}{'.png' if photo.suffix.lower() == '.png' else '.jpg'}"
        earlier = taken.setdefault(result, photo)
        if result.resolve() == photo.resolve():
            account.set_aside.append(SetAside(str(photo), "its result would replace it; choose another output folder"))
        elif earlier != photo:
            account.set_aside.append(
                SetAside(str(photo), f"its result would replace that of {earlier}; enhance it into another folder")
            )
        elif result.exists() and not force:
            account.skipped += 1
        else:
            _enhance_file(enhancer, photo, result, account)
        report(number, len(listed), photo.name)
    return account


def _enhance_file(enhancer: Enhancer, photo: Path, result: Path, account: Account) -> None:
    try:
        portrait = enhancer.enhance(read_photo(photo))
    except PictureError as error:
        account.set_aside.append(SetAside(str(photo), str(error)))
        return
    write_durably(result, encode_photo(portrait, result.suffix))
    account.done += 1
