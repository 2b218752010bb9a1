"""deepflash: from a flash selfie to a studio portrait.

    portrait = deepflash.enhance(image, "run")

Importing the package loads nothing heavy: the names below are imported when they are first asked for, and each room
(`deepflash.capture`, `deepflash.align`, `deepflash.dataset`, `deepflash.model`) imports the libraries that it needs itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["DeepflashError", "Enhancer", "Look", "Portraits", "__version__", "enhance", "load_enhancer"]

if TYPE_CHECKING:
    from deepflash.errors import DeepflashError
    from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
    from deepflash.model.enhancement.look import Look
    from deepflash.model.enhancement.portraits import Portraits, enhance
else:  # hidden from type checkers, for whom it would give a type to every name, also to a wrong one
    _HOMES = {
        "DeepflashError": "deepflash.errors",
        "Enhancer": "deepflash.model.enhancement.enhancer",
        "load_enhancer": "deepflash.model.enhancement.enhancer",
        "Look": "deepflash.model.enhancement.look",
        "Portraits": "deepflash.model.enhancement.portraits",
        "enhance": "deepflash.model.enhancement.portraits",
    }

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
