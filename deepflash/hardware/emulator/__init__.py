"""The emulated studio: a relay board on a pty and a PTP/IP camera on loopback, both looking at one scene."""
