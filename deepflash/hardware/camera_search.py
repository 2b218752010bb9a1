"""The process that looks for USB cameras: libgphoto2's search holds Python's global lock and cannot be interrupted.

Run as `python -m deepflash.hardware.camera_search`; it says what it found in one line of JSON.
"""

import json
import sys

import gphoto2 as gp


def main() -> int:
    """Print the cameras that libgphoto2 detects, as pairs of model and port."""
    cameras = [[str(model), str(port)] for model, port in gp.Camera.autodetect()]
    sys.stdout.write(json.dumps({"cameras": cameras}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
