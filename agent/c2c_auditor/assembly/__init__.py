"""From sources to one reading: the live cell, a bundle, or single files, each a reader with the same `read`.

What follows a reading is the same for all of them and pure: `audit.scene` judges it, `audit.settle` settles it,
`audit.reporting` reports it.
"""
