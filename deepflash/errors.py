"""The one tree of errors that a user can act on.

Every message is one sentence that names the file or device, says what is wrong and what to do.
The command line prints it without a traceback; everything else that is raised is a programmer's error.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the `deepflash` command returns to the shell."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    SET_ASIDE = 3  # the run ended, but some items were set aside with a reason
    INTERRUPTED = 130


class DeepflashError(Exception):
    """Something went wrong that the user, not the programmer, can mend."""


class PairError(DeepflashError):
    """A pair, its sidecar or its folder is not what it should be."""


class PictureError(DeepflashError):
    """A photograph cannot be used: missing, truncated, too large, not a picture."""


class NoFaceError(PictureError):
    """Nobody was found in a photograph."""


class ClusterError(DeepflashError):
    """A cluster cannot be reached, was lost, or its workers lack what the work needs."""


class ServingError(DeepflashError):
    """A page cannot be served on this machine: its port is taken."""


class FaceError(DeepflashError):
    """The face detector cannot be used on this machine."""


class HardwareError(DeepflashError):
    """A device did not do what it was asked."""


class RelayError(HardwareError):
    """The relay board or the lamp guard in front of it failed."""


class CameraError(HardwareError):
    """The camera or the worker process in front of it failed."""


class CaptureError(DeepflashError):
    """A session cannot be held or continued."""


class AlignError(DeepflashError):
    """A pair cannot be registered."""


class DatasetError(DeepflashError):
    """A data set cannot be built."""


class ShardError(DeepflashError):
    """A shard or its index is missing, damaged, or of an unknown version."""


class ModelError(DeepflashError):
    """A recipe, a run or its weights cannot be used."""
