"""Split by subject, geometric variants, and the building of shards."""
