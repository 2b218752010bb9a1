"""Run the command line: `python -m deepflash`."""

from deepflash.cli import main

main()
