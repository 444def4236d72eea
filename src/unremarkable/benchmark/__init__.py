"""Methods × data sets × seeds → one table that survives interruption, beside the published one where there is one.

`matrix` reads what is asked for, `cells` makes cells of it, `runner` runs each in a process of its own (`cell`) and
keeps what came of it (`store`), `estimates` puts seeds and folds together, and `tables`, `page` and `published` write.
"""
