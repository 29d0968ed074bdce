"""Why a picture matched: where in it each phrase of a text fits (docs/explain.md)."""
