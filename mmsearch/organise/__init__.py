"""Order in a collection: copies, groups, tags, and hits that differ from one another."""
