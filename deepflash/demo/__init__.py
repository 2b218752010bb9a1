"""The whole road in one command: photograph an emulated studio, and end with a portrait and a report."""
