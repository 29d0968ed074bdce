"""A dialogue over a collection: a language model plans, and calls read-only tools."""
