"""Figures people look at: curves, bars, ranks, training, features and galleries.

Each function takes plain arrays and gives a `matplotlib.figure.Figure` that knows nothing of pyplot: save it with
`figure.savefig(path)`, or put it into a page with `style.svg`. Importing a module here brings matplotlib, so nothing is
imported by the package itself.
"""
