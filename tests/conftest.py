"""Settings for all tests."""

from hypothesis import settings

settings.register_profile("deepflash", deadline=None)  # these machines are shared: no timed tests
settings.load_profile("deepflash")
