"""An encoder kept warm in a process of its own, behind a socket that only its user can reach.

The daemon turns texts and pictures into vectors and does nothing else: it opens no store, so a
search with it sees what a search without it sees.
"""
