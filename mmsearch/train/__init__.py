"""Training: the recipe of the starter model. Importing this package imports no torch."""
