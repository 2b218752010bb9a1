"""The shot sequence and its clock, sessions and instant checks."""
