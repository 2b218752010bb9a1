"""From a person's own photograph to a portrait: faces and crops, up-sampling, background, red eyes, files, the page."""
