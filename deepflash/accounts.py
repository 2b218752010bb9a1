"""Accounts for batch work: in = done + skipped + set aside, always."""

from dataclasses import dataclass, field

from deepflash.errors import ExitCode


@dataclass(frozen=True)
class SetAside:
    """An item that could not be used, and why, in one sentence."""

    item: str
    reason: str


@dataclass
class Account:
    """What became of every item of a batch, or of one `part` of it, such as 3/64."""

    unit: str = "pair"
    done: int = 0
    skipped: int = 0  # finished by an earlier run and still valid
    set_aside: list[SetAside] = field(default_factory=list)
    part: str = ""

    @property
    def total(self) -> int:
        return self.done + self.skipped + len(self.set_aside)

    @property
    def exit_code(self) -> ExitCode:
        """0 if everything was done or skipped, 1 if nothing was, 3 if some items were set aside."""
        if not self.set_aside:
            return ExitCode.OK
        return ExitCode.SET_ASIDE if self.done + self.skipped else ExitCode.FAILURE

    def sentence(self) -> str:
        """Say it in one line.

        >>> Account(done=7, set_aside=[SetAside("10", "no face")]).sentence()
        '8 pairs in = 7 done + 0 skipped + 1 set aside'
        """
        plural = "" if self.total == 1 else "s"
        where = f"part {self.part}: " if self.part else ""
        ends = f"{self.done} done + {self.skipped} skipped + {len(self.set_aside)} set aside"
        return f"{where}{self.total} {self.unit}{plural} in = {ends}"

    def as_dict(self) -> dict[str, object]:
        """Return the account for `--json`."""
        return ({"part": self.part} if self.part else {}) | {
            "in": self.total,
            "done": self.done,
            "skipped": self.skipped,
            "set_aside": [{"item": entry.item, "reason": entry.reason} for entry in self.set_aside],
        }
