"""One self-contained HTML page: what was found, how sure it is, what it looks like, and where it came from.

`html.write_report` writes the page, `gallery` arranges the cases to show, `figures` draws the curves, `wording` says it
in plain words. Importing them brings matplotlib, so nothing is imported here.
"""
