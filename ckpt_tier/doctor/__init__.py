"""`doctor`: one small check for each thing that can hurt, each with what to do about it.

Nothing is changed, except small objects below ``.ckpt-tier-probe/`` in the cold tier and a folder of its own in
``.ckpt-tier/`` of the hot one; both are removed again.
"""
