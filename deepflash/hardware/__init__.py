"""Drivers of relay boards and cameras, and their emulators. Knows nothing of subjects or sessions."""
