"""Training configs of other code bases, turned into recipes of ours.

`inherit.py` reads files and what they inherit, `settings.py` keeps account of what was taken, and
`paddleseg.py` and `variant.py` know what each key means.
"""
