"""deepflash: from a flash selfie to a studio portrait.

Importing the package loads nothing heavy; each room (`deepflash.capture`, `deepflash.align`,
`deepflash.dataset`, `deepflash.model`) imports the libraries that it needs itself.
"""

__version__ = "0.1.0"
