"""Settings for all tests."""

import os

# Read when torch is imported. Tests run on all cores already; threads of two tests that wait for each other cost a hundredfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("deepflash", deadline=None)  # these machines are shared: no timed tests
settings.load_profile("deepflash")
