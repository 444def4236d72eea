"""Training: runs the phases of a method over the packed normals, with early stopping, exact resume and a log.

`loop.train` is the way in; `settings` and `history` hold what goes in and what comes out, and import no torch.
"""
