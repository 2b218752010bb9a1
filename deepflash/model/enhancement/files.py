"""Many photographs into a folder of portraits."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepflash.accounts import Account, SetAside
from deepflash.errors import PictureError
from deepflash.files import write_durably
from deepflash.model.enhancement.comparison import Compare, comparison
from deepflash.model.enhancement.enhancer import load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.photos import RESULT_SUFFIXES, Metadata, Photo, encode_photo, read_photo
from deepflash.pictures import encode, read_gray
from deepflash.progress import Report, silent


@dataclass(frozen=True)
class Results:
    """What is written, and where.

    Attributes
    ----------
    folder
        Of the portraits; see `result_names`.
    compare
        Whether and how `STEM.compare.jpg` (`STEM.png.compare.jpg` beside a PNG, and so on) shows before and after.
    metadata
        What of the photograph's the portrait keeps; see `deepflash.photos.encode_photo`.
    force
        Write anew what is there already. Else it stays, whatever it was made with.
    """

    folder: Path
    compare: Compare = "none"
    metadata: Metadata = "safe"
    force: bool = False


def enhance_files(
    photos: Sequence[Path],
    run: Path,
    results: Results,
    look: Look | None = None,
    *,
    mask: Path | None = None,
    device: str | None = None,
    report: Report = silent,
) -> Account:
    """Enhance photographs into a folder, each in the format that it has (HEIC becomes JPEG).

    Parameters
    ----------
    photos
        Files; one that cannot be used is set aside with its reason.
    run
        Folder of the run to use.
    results
        What is written, and where.
    look
        How they are enhanced; if None, as `Look()` says.
    mask
        Grey picture of the subject, white, for a single photograph; if None, subjects are found.
    device
        As torch names it; the CPU if not given.
    report
        Called after every photograph.

    Raises
    ------
    FaceError
        if faces cannot be found on this machine.
    ModelError
        if the run cannot be used.
    PictureError
        if the folder is a file, or the mask cannot be read.
    """
    subject = None if mask is None else read_gray(mask)
    enhancer, chosen = load_enhancer(run, device=device), look or Look()
    return develop_files(photos, results, lambda photo: enhancer.enhance(photo, chosen, mask=subject), report)


def develop_files(
    photos: Sequence[Path], results: Results, develop: Callable[[Photo], Photo], report: Report = silent
) -> Account:
    """Make something of photographs into a folder, each in the format that it has (HEIC becomes JPEG).

    Parameters
    ----------
    photos
        Files; one that cannot be used is set aside with its reason, one that is given twice is done once.
    results
        What is written, and where.
    develop
        What is made of a photograph; it may raise `PictureError` of one that it cannot use.
    report
        Called after every photograph.

    Raises
    ------
    PictureError
        if the folder is a file.
    """
    if results.folder.exists() and not results.folder.is_dir():
        raise PictureError(f"{results.folder} is a file; give a folder for the portraits")
    job = _Job(develop, results)
    account = Account(unit="photograph")
    seen: set[Path] = set()
    for number, (photo, name) in enumerate(zip(photos, result_names(photos), strict=True), start=1):
        place = photo.resolve()
        if place in seen:
            account.skipped += 1
        else:
            job.do(photo, results.folder / name, account)
        seen.add(place)
        report(number, len(photos), photo.name)
    return account


def result_names(photos: Sequence[Path]) -> list[str]:
    """Return what the portraits of photographs are called: no two alike, whatever the photographs' order.

    `STEM.jpg` (or .png, .webp, .tif, as the photograph is). Where two in one folder would be called so, they keep their own
    suffix before it; where two of several folders would, the folders stand before it, as many as tell them apart.

    Examples
    --------
    >>> result_names([Path("a.jpg"), Path("b.heic"), Path("b.jpg"), Path("one/flash.png"), Path("two/flash.png")])
    ['a.jpg', 'b.heic.jpg', 'b.jpg.jpg', 'one-flash.png', 'two-flash.png']
    """
    places = [photo.resolve() for photo in photos]
    in_folder = Counter((place.parent, _plain_name(place).casefold()) for place in set(places))
    plain = {
        place: place.name + _suffix(place) if in_folder[place.parent, _plain_name(place).casefold()] > 1 else _plain_name(place)
        for place in places
    }
    names = dict(plain)
    for depth in range(1, max((len(place.parts) for place in places), default=0)):
        bearers = Counter(name.casefold() for name in names.values())
        alike = [place for place, name in names.items() if bearers[name.casefold()] > 1]
        names |= {place: "-".join([*place.parts[1:-1][-depth:], plain[place]]) for place in alike}
    return [names[place] for place in places]


@dataclass(frozen=True)
class _Job:
    develop: Callable[[Photo], Photo]
    results: Results

    def do(self, photo: Path, portrait: Path, account: Account) -> None:
        named = portrait.stem if portrait.suffix == ".jpg" else portrait.name
        compared = portrait.with_name(f"{named}.compare.jpg")
        wanted = [portrait, compared] if self.results.compare != "none" else [portrait]
        missing = [path for path in wanted if self.results.force or not path.exists()]
        if any(path.resolve() == photo.resolve() for path in wanted):
            account.set_aside.append(SetAside(str(photo), "its result would replace it; choose another output folder"))
        elif not missing:
            account.skipped += 1
        else:
            try:
                self._make(photo, portrait, compared, missing)
                account.done += 1
            except PictureError as error:
                account.set_aside.append(SetAside(str(photo), str(error)))

    def _make(self, photo: Path, portrait: Path, compared: Path, missing: Sequence[Path]) -> None:
        before = read_photo(photo)
        after = self.develop(before)
        if compared in missing:
            shown = comparison(before, after, self.results.compare)
            write_durably(compared, encode(shown, ".jpg"))
        if portrait in missing:
            write_durably(portrait, encode_photo(after, portrait.suffix, metadata=self.results.metadata))


def _plain_name(photo: Path) -> str:
    return photo.stem + _suffix(photo)


def _suffix(photo: Path) -> str:
    return RESULT_SUFFIXES.get(photo.suffix.lower(), ".jpg")
