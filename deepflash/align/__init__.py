"""Registration of the studio photograph onto the flash photograph, its quality, and the batch runner."""
