"""What may keep guests from running, or from running well: one check for each cause that is known.

A check looks at one thing, without a change to anything, and says what is wrong, why that matters,
and what mends it. `table` has all of them in their order, the worst causes first. `umlctl doctor`
shows what they find.
"""
