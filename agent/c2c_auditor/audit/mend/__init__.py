"""The mend: the fewest commands that make the kernel agree with the plan, worked out and proved, never run.

`wishes` and `containers` say what should stand in each chain, `slots` holds that beside what stands there, `edits` are
the commands as values, `causes` tells for which finding each of them is, and `mend` judges the rules as they would be.
"""
