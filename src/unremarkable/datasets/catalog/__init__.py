"""The catalogue of public data sets: what each is, where to get it, what it should hold, and how to read it as shipped.

`registry` finds entries by name and recognises folders; `base` is the contract; each other module holds one data set,
or several of one publisher with one layout. `check` compares a folder with the published counts.
"""
